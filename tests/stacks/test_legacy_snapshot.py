# SPDX-License-Identifier: Apache-2.0
"""What the Greengrass documentation of SageMaker Edge Manager asks for, one line each, on the legacy snapshot.

The page of the component `aws.greengrass.SageMakerEdgeManager` (requirements, configuration), the prerequisites of Edge
Manager on Greengrass and of a packaging job with a Greengrass preset: specification §1.1 to §1.15 and §2.2.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from stacks.snapshots import FOLDER, expand, read

NAMESPACE, REGION, ACCOUNT = "legacy", "us-east-1", "111122223333"
FLEET = f"{NAMESPACE}-fleet"
CAPTURES = f"sagemaker-{NAMESPACE}-captures-{ACCOUNT}-{REGION}"
ARTIFACTS = f"edge-{NAMESPACE}-artifacts-{ACCOUNT}-{REGION}"
AGENT = "aws.greengrass.SageMakerEdgeManager"
MODEL = f"{NAMESPACE}.com.edgemanager.model.digits"
WORK = f"/greengrass/v2/work/{AGENT}"

RESOURCES = [
    ("Fleet", "AWS::IAM::Role", "the token exchange role", {"RoleName": r"SageMaker.*"}),
    ("Fleet", "AWS::IoT::RoleAlias", "the alias of the core devices", {"RoleAlias": r"SageMakerEdge.*"}),
    ("Fleet", "AWS::IoT::Policy", "the policy of the devices' certificates", {"PolicyName": r".+"}),
    ("Fleet", "AWS::S3::Bucket", "the capture bucket, sagemaker in its name", {"BucketName": r".*sagemaker.*"}),
    ("Fleet", "AWS::S3::Bucket", "the bucket of artifacts", {"BucketName": ARTIFACTS}),
    ("Fleet", "AWS::IoT::Thing", "the first core device", {"ThingName": f"{NAMESPACE}-device-1"}),
    ("Fleet", "AWS::IoT::Thing", "the second core device", {"ThingName": f"{NAMESPACE}-device-2"}),
    ("Fleet", "AWS::IoT::ThingGroup", "the deployment's target", {"ThingGroupName": FLEET}),
    ("Fleet", "AWS::SageMaker::DeviceFleet", "the device fleet", {"DeviceFleetName": FLEET}),
    ("Fleet", "AWS::SageMaker::Device", "the devices, registered", {"DeviceFleetName": FLEET}),
    ("Models", "Custom::CompilationJob", "Neo's compilation job", {"JobName": r"[a-zA-Z0-9](-*[a-zA-Z0-9])*"}),
    (
        "Models",
        "Custom::SageMakerEdgePackagingJob",
        "the packaging job",
        {"ModelName": "digits", "ModelVersion": "1.0"},
    ),
    ("Release", "AWS::GreengrassV2::ComponentVersion", "the inference component", {"InlineRecipe": r".*"}),
    ("Release", "AWS::GreengrassV2::Deployment", "the deployment", {"TargetArn": rf".*:thinggroup/{FLEET}"}),
]


def trusted(service: str, **condition: str) -> dict[str, Any]:
    """The statement by which a service may take a role."""
    conditions = {"Condition": {"StringEquals": {"aws:SourceAccount": condition["account"]}}} if condition else {}
    return {"Action": "sts:AssumeRole", "Effect": "Allow", "Principal": {"Service": service}, **conditions}


SAGEMAKER = trusted("sagemaker.amazonaws.com", account=ACCOUNT)
TRUST = [
    ("Fleet", "TokenExchangeRole", [trusted("credentials.iot.amazonaws.com"), SAGEMAKER]),
    ("Models", "CompiledigitsRole", [SAGEMAKER]),
    ("Models", "PackagedigitsRole", [SAGEMAKER]),
    ("Models", "CompiledigitsHandlerRole", [trusted("lambda.amazonaws.com")]),
    ("Models", "PackagedigitsHandlerRole", [trusted("lambda.amazonaws.com")]),
]
PERMISSIONS = [
    ("Fleet", "TokenExchangeRole", "s3:PutObject", f"arn:aws:s3:::{CAPTURES}/sme-capture/*"),
    ("Fleet", "TokenExchangeRole", "s3:GetBucketLocation", f"arn:aws:s3:::{CAPTURES}"),
    ("Fleet", "TokenExchangeRole", "s3:GetObject", f"arn:aws:s3:::{ARTIFACTS}/components/*"),
    ("Fleet", "TokenExchangeRole", "s3:GetObject", f"arn:aws:s3:::{ARTIFACTS}/models/*"),
    ("Fleet", "TokenExchangeRole", "s3:GetBucketLocation", f"arn:aws:s3:::{ARTIFACTS}"),
    *(
        ("Fleet", "TokenExchangeRole", action, f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/greengrass/*")
        for action in ("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams")
    ),
    (
        "Fleet",
        "TokenExchangeRole",
        "sagemaker:GetDeployments",
        f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:device-fleet/{FLEET}",
    ),
    (
        "Fleet",
        "TokenExchangeRole",
        "sagemaker:GetDeployments",
        f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:device-fleet/{FLEET}/device/*",
    ),
    *(
        ("Models", "PackagedigitsRole", action, f"arn:aws:greengrass:{REGION}:{ACCOUNT}:components:{MODEL}{versions}")
        for action in ("greengrass:CreateComponentVersion", "greengrass:DescribeComponent")
        for versions in ("", ":versions:*")
    ),
    *(
        ("Models", role, action, f"arn:aws:s3:::{ARTIFACTS}")
        for role in ("CompiledigitsRole", "PackagedigitsRole")
        for action in ("s3:GetBucketLocation", "s3:ListBucket")
    ),
    *(
        ("Models", f"{role}HandlerRole", f"sagemaker:{verb}{job}", f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{jobs}")
        for role, job, jobs in (
            ("Compiledigits", "CompilationJob", f"compilation-job/{NAMESPACE}-digits*"),
            ("Packagedigits", "EdgePackagingJob", f"edge-packaging-job/{NAMESPACE}-digits*"),
        )
        for verb in ("Create", "Describe", "Stop")
    ),
]
JOBS = {"Compiledigits": "Custom::CompilationJob", "Packagedigits": "Custom::SageMakerEdgePackagingJob"}
# By whom, and where of a job: a path into its request, and what follows it.
PLACES = [
    ("CompiledigitsRole", "s3:GetObject", "Compiledigits", ("InputConfig", "S3Uri"), ""),
    ("CompiledigitsRole", "s3:PutObject", "Compiledigits", ("OutputConfig", "S3OutputLocation"), "/*"),
    ("PackagedigitsRole", "s3:GetObject", "Compiledigits", ("OutputConfig", "S3OutputLocation"), "/*"),
    ("PackagedigitsRole", "s3:PutObject", "Packagedigits", ("OutputConfig", "S3OutputLocation"), "/*"),
    ("CompiledigitsHandlerRole", "s3:GetObject", "Compiledigits", ("ModelArchive",), ""),
    ("CompiledigitsHandlerRole", "s3:PutObject", "Compiledigits", ("InputConfig", "S3Uri"), ""),
    ("PackagedigitsHandlerRole", "s3:GetObject", "Packagedigits", ("OutputConfig", "S3OutputLocation"), "/*"),
]
# Every parameter of the component (§2.2), with what this environment asks of it; all are strings.
PARAMETERS = {
    "DeviceFleetName": FLEET,
    "BucketName": CAPTURES,
    "CaptureDataBatchSize": "10",
    "CaptureDataBufferSize": "30",
    "CaptureDataDestination": "Disk",
    "CaptureDataPeriodicUpload": "true",
    "CaptureDataPeriodicUploadPeriodSeconds": "8",
    "CaptureDataPushPeriodSeconds": "4",
    "CaptureDataBase64EmbedLimit": "3072",
    "FolderPrefix": "sme-capture",
    "CaptureDataDiskPath": f"{WORK}/capture",
    "LocalDataRootPath": WORK,
    "DbEnable": "true",
    "DeploymentEnable": "true",
    "DeploymentPollInterval": "1440",
    "DLRBackendOptions": f"TVM_TENSORRT_CACHE_DIR={WORK}/trt; TVM_TENSORRT_CACHE_DISK_SIZE_MB=512",
    "SagemakerEdgeLogVerbose": "false",
    "UnixSocketName": "/tmp/aws.greengrass.SageMakerEdgeManager.sock",  # noqa: S108 -- the component's default
}
COMPONENTS = {
    "aws.greengrass.Nucleus": "2.14.3",
    "aws.greengrass.TokenExchangeService": "2.0.3",
    AGENT: "1.3.2",
    MODEL: r"\d+\.\d+\.\d+",
    f"{NAMESPACE}.com.edgemanager.ImageClassification": r"\d+\.\d+\.\d+",
}


def resources(stack: str, type_: str) -> dict[str, dict[str, Any]]:
    template = expand(read(FOLDER))[NAMESPACE][stack]
    return {id_: r.get("Properties", {}) for id_, r in template["Resources"].items() if r["Type"] == type_}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def role_of(stack: str, start: str) -> tuple[str, dict[str, Any]]:
    (found,) = ((id_, r) for id_, r in resources(stack, "AWS::IAM::Role").items() if id_[:-8] == start)
    return found


def one(stack: str, type_: str) -> dict[str, Any]:
    (found,) = resources(stack, type_).values()
    return found


def components() -> dict[str, dict[str, Any]]:
    return dict(one("Release", "AWS::GreengrassV2::Deployment")["Components"])


@pytest.mark.parametrize(("stack", "type_", "what", "properties"), RESOURCES, ids=[row[2] for row in RESOURCES])
def test_the_resource_is_declared(stack: str, type_: str, what: str, properties: Mapping[str, str]) -> None:
    def fits(found: Mapping[str, Any]) -> bool:
        texts = {name: found.get(name) for name in properties}
        return all(re.fullmatch(properties[name], str(value), re.DOTALL) for name, value in texts.items())

    assert any(fits(found) for found in resources(stack, type_).values()), what


@pytest.mark.parametrize(("stack", "role", "statements"), TRUST, ids=[row[1] for row in TRUST])
def test_the_role_is_trusted_to_these_and_no_others(stack: str, role: str, statements: list[dict[str, Any]]) -> None:
    assert role_of(stack, role)[1]["AssumeRolePolicyDocument"]["Statement"] == statements


def permitted(stack: str, role: str, action: str, resource: object) -> list[dict[str, Any]]:
    """The conditions of the statements that allow the role this."""
    id_ = role_of(stack, role)[0]
    return [
        statement.get("Condition", {})
        for policy in resources(stack, "AWS::IAM::Policy").values()
        if {"Ref": id_} in policy["Roles"]
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Allow"
        if action in _listed(statement["Action"]) and resource in _listed(statement["Resource"])
    ]


@pytest.mark.parametrize(("stack", "role", "action", "resource"), PERMISSIONS)
def test_the_role_has_the_permission(stack: str, role: str, action: str, resource: str) -> None:
    assert {} in permitted(stack, role, action, resource)


@pytest.mark.parametrize(("role", "action", "job", "path", "rest"), PLACES)
def test_the_role_has_the_permission_where_the_job_reads_or_writes(
    role: str, action: str, job: str, path: tuple[str, ...], rest: str
) -> None:
    place: Any = one("Models", JOBS[job])
    for name in path:
        place = place[name]
    assert {} in permitted("Models", role, action, f"arn:aws:s3:::{place.removeprefix('s3://')}{rest}")


@pytest.mark.parametrize(("job", "type_"), JOBS.items())
def test_the_jobs_handler_passes_the_jobs_role_to_sagemaker_only(job: str, type_: str) -> None:
    role = {"Fn::GetAtt": [role_of("Models", f"{job}Role")[0], "Arn"]}
    assert one("Models", type_)["RoleArn"] == role
    only = {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
    assert permitted("Models", f"{job}HandlerRole", "iam:PassRole", role) == [only]


def test_the_role_has_awss_managed_policy() -> None:
    (policy,) = role_of("Fleet", "TokenExchangeRole")[1]["ManagedPolicyArns"]
    assert json.dumps(policy).endswith('service-role/AmazonSageMakerEdgeDeviceFleetPolicy"]]}')


def test_the_certificates_policy_lets_the_device_take_the_roles_credentials() -> None:
    (alias,) = resources("Fleet", "AWS::IoT::RoleAlias")
    statements = one("Fleet", "AWS::IoT::Policy")["PolicyDocument"]["Statement"]
    (taking,) = (s for s in statements if s["Action"] == ["iot:AssumeRoleWithCertificate"])
    assert taking["Resource"] == [{"Fn::GetAtt": [alias, "RoleAliasArn"]}]


def test_fleet_and_alias_have_the_same_role() -> None:
    id_ = role_of("Fleet", "TokenExchangeRole")[0]
    expected = {"Fn::GetAtt": [id_, "Arn"]}
    assert one("Fleet", "AWS::SageMaker::DeviceFleet")["RoleArn"] == expected
    assert one("Fleet", "AWS::IoT::RoleAlias")["RoleArn"] == expected


def test_the_fleet_writes_to_the_capture_bucket() -> None:
    output = one("Fleet", "AWS::SageMaker::DeviceFleet")["OutputConfig"]
    assert output == {"S3OutputLocation": f"s3://{CAPTURES}/sme-capture"}


@pytest.mark.parametrize("thing", [f"{NAMESPACE}-device-1", f"{NAMESPACE}-device-2"])
def test_a_device_is_registered_under_its_things_name(thing: str) -> None:
    devices = [found["Device"] for found in resources("Fleet", "AWS::SageMaker::Device").values()]
    assert {"DeviceName": thing, "IotThingName": thing} in devices


@pytest.mark.parametrize(("component", "version"), COMPONENTS.items())
def test_the_deployment_has_the_component_at_a_pinned_version(component: str, version: str) -> None:
    assert re.fullmatch(version, components()[component]["ComponentVersion"])


def test_the_deployment_has_nothing_else() -> None:
    assert set(components()) == set(COMPONENTS)


@pytest.mark.parametrize(("parameter", "value"), PARAMETERS.items())
def test_the_deployment_merges_the_parameter(parameter: str, value: str) -> None:
    assert components()[AGENT]["ConfigurationUpdate"]["Merge"][parameter] == value


def test_the_deployment_merges_no_other_parameter() -> None:
    assert set(components()[AGENT]["ConfigurationUpdate"]["Merge"]) == set(PARAMETERS)


def test_the_packaging_job_makes_the_component_that_is_deployed() -> None:
    output = one("Models", "Custom::SageMakerEdgePackagingJob")["OutputConfig"]
    assert output["PresetDeploymentType"] == "GreengrassV2Component"
    preset = json.loads(output["PresetDeploymentConfig"])
    assert preset["ComponentName"] == MODEL
    assert preset["ComponentVersion"] == components()[MODEL]["ComponentVersion"]


def test_inference_depends_on_awss_agent() -> None:
    recipe = one("Release", "AWS::GreengrassV2::ComponentVersion")["InlineRecipe"]
    assert recipe["ComponentDependencies"][AGENT]["DependencyType"] == "HARD"


def test_the_region_is_one_of_edge_managers() -> None:
    arn = one("Release", "AWS::GreengrassV2::Deployment")["TargetArn"]
    assert arn.split(":")[3] in {"us-east-1", "us-east-2", "us-west-2", "eu-central-1", "eu-west-1", "ap-northeast-1"}
