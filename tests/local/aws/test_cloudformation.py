# SPDX-License-Identifier: Apache-2.0
"""The pinned CDK CLI, the user's own command, against the embedded AWS: a stack's whole life."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from local.aws.server import ROOT, VENV, EmbeddedAws

CLI = ROOT / "node_modules" / ".bin" / "cdk"
APP = Path(__file__).parent / "cdk_app" / "app.py"


def environment_of(aws: EmbeddedAws) -> dict[str, str]:
    # Only the project's own Node, as on a machine that has none.
    path = os.pathsep.join([str(VENV / "bin"), "/usr/bin", "/bin"])
    return {**aws.environment(), "PATH": path, "NODE_NO_WARNINGS": "1", "CDK_VALIDATION": "false"}


@pytest.fixture(scope="module")
def assemblies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cloud assembly for each stage of the app's life: first, changed, failing."""
    directory = tmp_path_factory.mktemp("assemblies")
    path = os.pathsep.join([str(VENV / "bin"), os.environ["PATH"]])
    variables = {**os.environ, "PATH": path, "CDK_VALIDATION": "false"}
    subprocess.run([sys.executable, str(APP), str(directory)], env=variables, check=True, timeout=60)
    return directory


def cdk(aws: EmbeddedAws, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(CLI), "--no-notices", "--ci", *arguments]
    return subprocess.run(
        command, env=environment_of(aws), cwd=directory, capture_output=True, text=True, timeout=60, check=False
    )


def deploy(aws: EmbeddedAws, assembly: Path) -> subprocess.CompletedProcess[str]:
    return cdk(aws, assembly, "deploy", "Edge", "--app", str(assembly), "--require-approval", "never")


def stack_of(aws: EmbeddedAws) -> dict[str, Any]:
    stack: dict[str, Any] = aws.client("cloudformation").describe_stacks(StackName="Edge")["Stacks"][0]
    stack["Outputs"] = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", ())}
    return stack


def versions_of(aws: EmbeddedAws) -> list[str]:
    arn = f"arn:aws:greengrass:{aws.region}:{aws.account}:components:com.example.Hello"
    versions = aws.client("greengrassv2").list_component_versions(arn=arn)["componentVersions"]
    return [version["componentVersion"] for version in versions]


@pytest.mark.timeout(120)
def test_a_stack_is_deployed_changed_rolled_back_and_destroyed(own_aws: EmbeddedAws, assemblies: Path) -> None:
    aws = own_aws
    greengrass = aws.client("greengrassv2")
    bootstrapped = cdk(aws, assemblies, "bootstrap", f"aws://{aws.account}/{aws.region}")
    assert bootstrapped.returncode == 0, bootstrapped.stdout + bootstrapped.stderr

    created = deploy(aws, assemblies / "first")
    assert created.returncode == 0, created.stdout + created.stderr
    first = stack_of(aws)["Outputs"]
    assert first["Length"] == str(len("hello"))
    assert (
        first["AliasArn"]
        == aws.client("iot").describe_role_alias(roleAlias="SageMakerEdge-fleet")["roleAliasDescription"][
            "roleAliasArn"
        ]
    )
    asked = greengrass.get_deployment(deploymentId=first["DeploymentId"])
    assert asked["components"]["com.example.Hello"]["componentVersion"] == "1.0.0"
    assert asked["deploymentStatus"] == "ACTIVE"

    inventory = aws.inventory(assembly=assemblies / "first")
    assert {resource.type for resource in inventory.emulated} == {
        "AWS::IoT::RoleAlias",
        "AWS::GreengrassV2::ComponentVersion",
        "AWS::GreengrassV2::Deployment",
    }
    assert {resource.stack for resource in inventory.not_deployed} == {"Never"}
    assert "Custom::Greeting" in {resource.type for resource in inventory.deployed}
    assert "CDKToolkit" not in {resource.stack for resource in inventory.deployed}
    assert "CDKToolkit" in {resource.stack for resource in aws.inventory().deployed}

    changed = deploy(aws, assemblies / "changed")
    assert changed.returncode == 0, changed.stdout + changed.stderr
    second = stack_of(aws)["Outputs"]
    assert second["Length"] == str(len("hello there"))
    assert second["DeploymentId"] != first["DeploymentId"]
    assert versions_of(aws) == ["1.1.0", "1.0.0"], "the old version is retained"
    with pytest.raises(greengrass.exceptions.ResourceNotFoundException):
        greengrass.get_deployment(deploymentId=first["DeploymentId"])

    failed = deploy(aws, assemblies / "failing")
    assert failed.returncode != 0
    after = stack_of(aws)
    assert after["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert after["Outputs"] == second
    reasons = [
        event.get("ResourceStatusReason", "")
        for event in aws.client("cloudformation").describe_stack_events(StackName="Edge")["StackEvents"]
        if event["ResourceStatus"] == "UPDATE_FAILED"
    ]
    assert any("this greeting is refused" in reason for reason in reasons), reasons
    greeting = aws.client("s3").get_object(Bucket="sagemaker-captures", Key="greetings/1")["Body"].read()
    assert greeting == b"hello there", "the rollback ran the handler with the old properties"
    assert versions_of(aws) == ["1.1.0", "1.0.0"], "what the failed update made is gone again"

    s3 = aws.client("s3")
    for item in s3.list_objects_v2(Bucket="sagemaker-captures", Prefix="looks/")["Contents"]:
        s3.delete_object(Bucket="sagemaker-captures", Key=item["Key"])
    destroyed = cdk(aws, assemblies, "destroy", "Edge", "--app", str(assemblies / "changed"), "--force")
    assert destroyed.returncode == 0, destroyed.stdout + destroyed.stderr
    assert greengrass.list_deployments(historyFilter="ALL")["deployments"] == []
    assert aws.client("iot").list_role_aliases()["roleAliases"] == []
    assert versions_of(aws) == ["1.1.0", "1.0.0"]
