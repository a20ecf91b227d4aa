# SPDX-License-Identifier: Apache-2.0
"""SageMaker mode, held against what the documentation of Edge Manager on Greengrass asks for, one by one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stacks.application import build_app
from stacks.environment import DISCONTINUED
from stacks.snapshots import FOLDERS

FLEET_ARN = "arn:aws:sagemaker:us-east-1:111122223333:device-fleet/legacy-fleet"
PARAMETERS = {
    "DeviceFleetName",
    "BucketName",
    "CaptureDataBatchSize",
    "CaptureDataBufferSize",
    "CaptureDataDestination",
    "CaptureDataPeriodicUpload",
    "CaptureDataPeriodicUploadPeriodSeconds",
    "CaptureDataPushPeriodSeconds",
    "CaptureDataBase64EmbedLimit",
    "FolderPrefix",
    "CaptureDataDiskPath",
    "LocalDataRootPath",
    "DbEnable",
    "DeploymentEnable",
    "DeploymentPollInterval",
    "DLRBackendOptions",
    "SagemakerEdgeLogVerbose",
    "UnixSocketName",
}


@pytest.fixture(scope="module")
def outdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("legacy") / "cdk.out"
    build_app(outdir=str(folder), folders=FOLDERS, context={"env": "legacy"}).synth()
    return folder


@pytest.fixture(scope="module")
def stacks(outdir: Path) -> dict[str, Any]:
    """Templates by stack: Fleet, Models, Release."""
    folder = outdir / "assembly-legacy"
    manifest = json.loads((folder / "manifest.json").read_text())
    return {
        a["displayName"].removeprefix("legacy/"): json.loads((folder / a["properties"]["templateFile"]).read_text())
        for a in manifest["artifacts"].values()
        if a["type"] == "aws:cloudformation:stack"
    }


def test_a_warning_with_the_date_is_given(outdir: Path) -> None:
    assert "26 April 2024" in DISCONTINUED
    assert DISCONTINUED in (outdir / "validation-report.json").read_text()


def test_the_device_role_is_trusted_by_both_services_and_has_the_policy_and_what_it_lacks(
    stacks: dict[str, Any], resources: Any, allows: Any
) -> None:
    fleet = stacks["Fleet"]
    ((id_, role),) = ((i, r) for i, r in resources(fleet, "AWS::IAM::Role").items() if "RoleName" in r["Properties"])
    trust = role["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert {s["Principal"]["Service"] for s in trust} == {"credentials.iot.amazonaws.com", "sagemaker.amazonaws.com"}
    assert {s["Action"] for s in trust} == {"sts:AssumeRole"}
    assert role["Properties"]["RoleName"].startswith("SageMaker")
    (policy,) = role["Properties"]["ManagedPolicyArns"]
    assert json.dumps(policy).count("AmazonSageMakerEdgeDeviceFleetPolicy") == 1
    for action, resource in (
        ("sagemaker:GetDeployments", FLEET_ARN),
        ("sagemaker:GetDeployments", f"{FLEET_ARN}/device/legacy-device-1"),
        ("s3:PutObject", "arn:aws:s3:::sagemaker-legacy-captures-111122223333-us-east-1/sme-capture/x"),
        ("s3:GetObject", "arn:aws:s3:::edge-legacy-artifacts-111122223333-us-east-1/models/digits/x"),
        ("logs:PutLogEvents", "arn:aws:logs:us-east-1:111122223333:log-group:/aws/greengrass/x"),
    ):
        assert allows(fleet, id_, action, resource), action


def test_the_fleet_has_the_core_devices_role_and_waits_for_the_alias(stacks: dict[str, Any], resources: Any) -> None:
    template = stacks["Fleet"]
    (fleet,) = resources(template, "AWS::SageMaker::DeviceFleet").values()
    ((alias_id, alias),) = resources(template, "AWS::IoT::RoleAlias").items()
    assert fleet["Properties"]["DeviceFleetName"] == "legacy-fleet"
    assert fleet["Properties"]["RoleArn"] == alias["Properties"]["RoleArn"]
    assert alias["Properties"]["RoleAlias"] == "SageMakerEdge-legacy"
    assert alias_id in fleet["DependsOn"]
    location = fleet["Properties"]["OutputConfig"]["S3OutputLocation"]
    assert re.fullmatch(r"s3://[^/]*sagemaker[^/]*/sme-capture", location)


def test_each_device_is_named_as_its_thing(stacks: dict[str, Any], resources: Any) -> None:
    template = stacks["Fleet"]
    things = {r["Properties"]["ThingName"] for r in resources(template, "AWS::IoT::Thing").values()}
    devices = [r["Properties"] for r in resources(template, "AWS::SageMaker::Device").values()]
    assert {d["Device"]["DeviceName"] for d in devices} == {d["Device"]["IotThingName"] for d in devices} == things
    assert {d["DeviceFleetName"] for d in devices} == {"legacy-fleet"}
    assert len(things) == 2


def test_no_signing_key_of_ours_stands_there(stacks: dict[str, Any], resources: Any) -> None:
    assert not resources(stacks["Fleet"], "AWS::KMS::Key")


def test_the_model_is_compiled_and_packaged_with_a_greengrass_component(stacks: dict[str, Any], resources: Any) -> None:
    template = stacks["Models"]
    ((compile_id, compiled),) = resources(template, "Custom::CompilationJob").items()
    (packaged,) = (r["Properties"] for r in resources(template, "Custom::SageMakerEdgePackagingJob").values())
    assert compiled["Properties"]["InputConfig"]["Framework"] == "ONNX"
    assert compiled["Properties"]["InputConfig"]["S3Uri"].endswith("/source/digits.tar.gz")
    assert json.loads(compiled["Properties"]["InputConfig"]["DataInputConfig"]) == {"image": [1, 1, 8, 8]}
    assert compiled["Properties"]["OutputConfig"]["TargetPlatform"] == {"Os": "LINUX", "Arch": "X86_64"}
    assert packaged["CompilationJobName"] == {"Fn::GetAtt": [compile_id, "CompilationJobName"]}
    output = packaged["OutputConfig"]
    assert output["PresetDeploymentType"] == "GreengrassV2Component"
    preset = json.loads(output["PresetDeploymentConfig"])
    assert preset["ComponentName"] == "legacy.com.edgemanager.model.digits"
    assert not resources(template, "Custom::EdgePackagingJob")


def test_the_deployment_has_awss_agent_with_every_parameter(
    stacks: dict[str, Any], resources: Any, merge_of: Any
) -> None:
    (deployment,) = resources(stacks["Release"], "AWS::GreengrassV2::Deployment").values()
    components = deployment["Properties"]["Components"]
    (packaged,) = (r["Properties"] for r in resources(stacks["Models"], "Custom::SageMakerEdgePackagingJob").values())
    preset = json.loads(packaged["OutputConfig"]["PresetDeploymentConfig"])
    assert components["aws.greengrass.SageMakerEdgeManager"]["ComponentVersion"] == "1.3.2"
    assert components[preset["ComponentName"]]["ComponentVersion"] == preset["ComponentVersion"]
    assert "aws.greengrass.TokenExchangeService" in components
    assert not any(name.endswith("com.edgemanager.Agent") for name in components)
    merged = merge_of(components["aws.greengrass.SageMakerEdgeManager"])
    assert set(merged) == PARAMETERS
    assert all(isinstance(value, str) for value in merged.values())
    assert (merged["DeviceFleetName"], merged["DeploymentEnable"]) == ("legacy-fleet", "true")
    assert "sagemaker" in merged["BucketName"]


def test_inference_is_the_same_artifact_and_depends_on_awss_agent(
    stacks: dict[str, Any], resources: Any, templates: dict[str, Any], merge_of: Any
) -> None:
    def recipe_of(template: dict[str, Any]) -> dict[str, Any]:
        recipes = [
            json.loads(r["Properties"]["InlineRecipe"])
            for r in resources(template, "AWS::GreengrassV2::ComponentVersion").values()
        ]
        (recipe,) = (r for r in recipes if r["ComponentName"].endswith("ImageClassification"))
        return dict(recipe)

    def artifacts(template: dict[str, Any]) -> dict[str, str]:
        published = resources(template, "Custom::PublishedArtifact").values()
        return {Path(r["Properties"]["TargetKey"]).name: r["Properties"]["Sha256"] for r in published}

    ours, theirs = recipe_of(templates["Release"]), recipe_of(stacks["Release"])
    assert (
        artifacts(stacks["Release"])["image_classification.zip"]
        == (artifacts(templates["Release"])["image_classification.zip"])
    )
    assert {
        "aws.greengrass.SageMakerEdgeManager",
        "legacy.com.edgemanager.model.digits",
    } == set(theirs.pop("ComponentDependencies"))
    del ours["ComponentDependencies"]
    former, latter = (recipe.pop("ComponentVersion") for recipe in (theirs, ours))
    assert former != latter, "another recipe needs another version"
    assert json.dumps(theirs).replace("legacy", "dev").replace(f"/{former}/", f"/{latter}/") == json.dumps(ours)
    (deployment,) = resources(stacks["Release"], "AWS::GreengrassV2::Deployment").values()
    component = deployment["Properties"]["Components"]["legacy.com.edgemanager.ImageClassification"]
    assert merge_of(component)["EdgeManagerComponent"] == "aws.greengrass.SageMakerEdgeManager"


def test_cfn_lint_has_nothing_to_say(outdir: Path) -> None:
    templates = sorted(map(str, outdir.glob("assembly-*/*.template.json")))
    assert len(templates) == 3
    command = [str(Path(sys.executable).with_name("cfn-lint")), "--config-file", ".cfnlintrc.yaml", "-t", *templates]
    result = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
