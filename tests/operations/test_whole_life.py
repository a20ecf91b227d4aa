# SPDX-License-Identifier: Apache-2.0
"""An environment's whole life as a person runs it: the commands, the pinned CDK CLI, an account on the embedded AWS."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.aws.server import EmbeddedAws
from operations.target import ROOT

ACCOUNT, REGION = "444455556666", "us-east-1"
# As DescribeParameters asks for it.
LAST_GOOD: list[Any] = [{"Key": "Name", "Option": "Equals", "Values": ["/dev/edge-manager/last-good"]}]

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[EmbeddedAws]:
    with EmbeddedAws.start(directory=tmp_path / "aws", account=ACCOUNT, region=REGION) as aws:
        yield aws


def make(aws: EmbeddedAws, *arguments: str, account: str = ACCOUNT) -> subprocess.CompletedProcess[str]:
    """What `make` runs for a target; pytest's own variables would change how cdk-nag reports."""
    variables = {k: v for k, v in aws.environment().items() if not k.startswith("PYTEST")}
    variables.update(EDGE_DEV_ACCOUNT=account, EDGE_DEV_REGION=REGION, PATH=os.environ["PATH"])
    command = [sys.executable, "-m", "operations", *arguments]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def done(answer: subprocess.CompletedProcess[str]) -> str:
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def stacks(aws: EmbeddedAws) -> set[str]:
    found = aws.client("cloudformation").describe_stacks()["Stacks"]
    return {stack["StackName"] for stack in found if stack["StackName"].startswith("dev-")}


def components(aws: EmbeddedAws) -> list[Any]:
    return list(aws.client("greengrassv2").list_components()["components"])


def test_deploy_device_destroy_and_deploy_again(aws: EmbeddedAws, tmp_path: Path) -> None:
    refused = make(aws, "deploy", "dev")
    assert refused.returncode == 2
    bootstrap = refused.stderr.strip().splitlines()[-1].split()
    assert bootstrap[1:] == ["bootstrap", f"aws://{ACCOUNT}/{REGION}"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**aws.environment(), "PATH": path}
    subprocess.run(bootstrap, cwd=ROOT, env=environment, capture_output=True, check=True, timeout=100)

    first = done(make(aws, "deploy", "dev", "--approve"))
    assert "taking back" not in first
    assert "no core device has reported yet, so nothing is verified" in first
    assert stacks(aws) == {"dev-Fleet", "dev-Models", "dev-Monitoring", "dev-Release"}
    deployed = {component["componentName"] for component in components(aws)}
    assert "dev.com.edgemanager.Agent" in deployed
    assert "nothing to do" in done(make(aws, "prune", "dev")), "a fresh deployment names all there is"

    nothing = make(aws, "restore", "dev")
    assert (nothing.returncode, "there is no last good release to restore" in nothing.stderr) == (1, True)
    assert "in /dev/edge-manager/last-good" in done(make(aws, "promote", "dev"))
    assert "dev-fleet: has the last good release" in done(make(aws, "restore", "dev"))
    denied = make(aws, "verify", "dev", "--assume-roles")
    assert "AWS: An error occurred (AccessDenied) when calling the AssumeRole" in denied.stderr, "no pipeline, no role"

    out = tmp_path / "device-1"
    assert "is active" in done(make(aws, "device", "dev", "device-1", "--out", str(out)))
    assert (out / "private.pem.key").stat().st_mode & 0o777 == 0o600

    asked = make(aws, "destroy", "dev")
    assert (asked.returncode, stacks(aws) != set()) == (2, True), "nobody could be asked"
    destroyed = done(make(aws, "destroy", "dev", "--approve"))
    kept = f"sagemaker-dev-captures-{ACCOUNT}-{REGION}"
    assert f"AWS::S3::Bucket  {kept}" in destroyed
    assert (stacks(aws), components(aws)) == (set(), [])
    assert aws.client("iot").list_certificates()["certificates"] == []
    assert aws.client("iot").list_things()["things"] == []
    assert aws.client("ssm").describe_parameters(ParameterFilters=LAST_GOOD)["Parameters"] == []
    aws.client("s3").put_object(Bucket=kept, Key="sme-capture/evidence", Body=b"kept")

    refused = make(aws, "deploy", "dev", "--approve")
    assert (refused.returncode, stacks(aws)) == (2, set())
    aliases = aws.client("kms").list_aliases()["Aliases"]
    (alias,) = (item for item in aliases if item["AliasName"].startswith("alias/dev-"))
    command = f"aws kms delete-alias --alias-name {alias['AliasName']} --region {REGION}"
    assert f"  {command}  # of key {alias['TargetKeyId']}" in refused.stderr
    assert f"  {command}" in destroyed
    aws.client("kms").delete_alias(AliasName=alias["AliasName"])

    again = done(make(aws, "deploy", "dev", "--approve"))
    assert "taking back what a former deployment left" in again
    assert {component["componentName"] for component in components(aws)} == deployed
    resources = aws.client("cloudformation").list_stack_resources(StackName="dev-Fleet")["StackResourceSummaries"]
    assert kept in {resource.get("PhysicalResourceId") for resource in resources}
    assert aws.client("s3").get_object(Bucket=kept, Key="sme-capture/evidence")["Body"].read() == b"kept"
