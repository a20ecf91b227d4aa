# SPDX-License-Identifier: Apache-2.0
"""The roles of every job, from both sides: what each must do it can, and what it must not do it cannot."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from local.aws.policies import statements_of
from tests.stacks.minimal import MINIMAL

COMPILED = (
    MINIMAL
    + """
[compilation]
target_device = "rasp4b"
[packaging]
kms_key_id = "alias/packages"
"""
)
VOLUME = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
SAGEMAKER = 'edge_manager = "sagemaker"\nacknowledge_discontinued = true\n' + COMPILED + f'resource_key = "{VOLUME}"\n'
JOBS = "arn:aws:sagemaker:us-east-1:111122223333"
COMPONENTS = "arn:aws:greengrass:us-east-1:111122223333:components"
ARTIFACTS = "arn:aws:s3:::edge-test-artifacts-111122223333-us-east-1"


@pytest.fixture
def stacks(synthesise_texts: Any) -> dict[str, dict[str, Any]]:
    open_, sagemaker = synthesise_texts(COMPILED, SAGEMAKER)
    return {"open": open_, "sagemaker": sagemaker}


def role_of(template: Mapping[str, Any], start: str) -> str:
    """The logical id of the one role whose id starts so, the hash left aside."""
    found = [
        id_
        for id_, resource in template["Resources"].items()
        if resource["Type"] == "AWS::IAM::Role" and id_[:-8] == start
    ]
    (role,) = found
    return str(role)


def properties_of(template: Mapping[str, Any], type_: str) -> dict[str, Any]:
    (found,) = (r["Properties"] for r in template["Resources"].values() if r["Type"] == type_)
    return dict(found)


def statements(template: Mapping[str, Any], role: str) -> Iterator[Mapping[str, Any]]:
    for policy in template["Resources"].values():
        if policy["Type"] == "AWS::IAM::Policy" and {"Ref": role} in policy["Properties"]["Roles"]:
            yield from statements_of(policy["Properties"]["PolicyDocument"])


def arn(uri: str) -> str:
    return uri.replace("s3://", "arn:aws:s3:::")


@pytest.mark.parametrize("mode", ["open", "sagemaker"])
def test_compilation(mode: str, stacks: dict[str, Any], allows: Any) -> None:
    template = stacks[mode]["Models"]
    job = properties_of(template, "Custom::CompilationJob")
    neo, handler = role_of(template, "CompiledigitsRole"), role_of(template, "CompiledigitsHandlerRole")
    source, output = arn(job["InputConfig"]["S3Uri"]), arn(job["OutputConfig"]["S3OutputLocation"])
    archive = arn(job["ModelArchive"])
    for role, action, resource in (
        (handler, "sagemaker:CreateCompilationJob", f"{JOBS}:compilation-job/test-digits-1-0-0123456789ab"),
        (handler, "sagemaker:DescribeCompilationJob", f"{JOBS}:compilation-job/test-digits-1-0-0123456789ab-2"),
        (handler, "sagemaker:StopCompilationJob", f"{JOBS}:compilation-job/test-digits-1-0-0123456789ab"),
        # The former version's job is stopped with the role of the latter, and after a rollback the other way round.
        (handler, "sagemaker:DescribeCompilationJob", f"{JOBS}:compilation-job/test-digits-2-0-0123456789ab"),
        (handler, "sagemaker:StopCompilationJob", f"{JOBS}:compilation-job/test-digits-2-0-0123456789ab"),
        (handler, "s3:GetObject", archive),
        (handler, "s3:PutObject", source),
        # Whether a completed job's output is still there; without the list a missing key would answer 403.
        (handler, "s3:GetObject", f"{output}/digits-rasp4b.tar.gz"),
        (handler, "s3:ListBucket", ARTIFACTS),
        (neo, "s3:GetObject", source),
        (neo, "s3:PutObject", f"{output}/digits-rasp4b.tar.gz"),
        (neo, "s3:ListBucket", ARTIFACTS),
    ):
        assert allows(template, role, action, resource), (role, action, resource)
    for role, action, resource in (
        (handler, "sagemaker:CreateCompilationJob", f"{JOBS}:compilation-job/other"),
        (handler, "sagemaker:CreateEdgePackagingJob", f"{JOBS}:edge-packaging-job/test-digits-1-0-0123456789ab"),
        (handler, "sagemaker:DeleteCompilationJob", f"{JOBS}:compilation-job/test-digits-1-0-0123456789ab"),
        (handler, "s3:PutObject", archive),
        (handler, "s3:PutObject", f"{ARTIFACTS}/models/digits/x"),
        (handler, "iam:PassRole", "arn:aws:iam::111122223333:role/admin"),
        (neo, "s3:PutObject", f"{ARTIFACTS}/models/digits/x"),
        (neo, "s3:PutObject", f"{ARTIFACTS}/components/x"),
        (neo, "s3:GetObject", f"{ARTIFACTS}/components/x"),
        (neo, "s3:DeleteObject", f"{output}/digits-rasp4b.tar.gz"),
        (neo, "iam:PassRole", f"<{neo}.Arn>"),
    ):
        assert not allows(template, role, action, resource), (role, action, resource)
    check_trust(template, neo, handler)


def check_trust(template: Mapping[str, Any], service: str, handler: str) -> None:
    """SageMaker assumes its role for this account alone; the handler hands it to SageMaker alone."""
    (trust,) = template["Resources"][service]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "sagemaker.amazonaws.com"}
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": "111122223333"}}
    (passing,) = (s for s in statements(template, handler) if "iam:PassRole" in s["Action"])
    assert passing["Resource"] == {"Fn::GetAtt": [service, "Arn"]}
    assert passing["Condition"] == {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}


def test_open_packaging_of_what_was_compiled(stacks: dict[str, Any], allows: Any) -> None:
    template = stacks["open"]["Models"]
    job = properties_of(template, "Custom::EdgePackagingJob")
    compiled = arn(properties_of(template, "Custom::CompilationJob")["OutputConfig"]["S3OutputLocation"])
    role, package = role_of(template, "PackagedigitsHandlerRole"), arn(job["ModelArtifact"])
    for action, resource in (
        ("s3:GetObject", f"{compiled}/digits-rasp4b.tar.gz"),
        ("s3:PutObject", package),
        ("s3:PutObject", f"{package}.sig"),
        ("s3:AbortMultipartUpload", package),
    ):
        assert allows(template, role, action, resource), (action, resource)
    for action, resource in (
        ("s3:PutObject", f"{compiled}/digits-rasp4b.tar.gz"),
        ("s3:DeleteObject", package),
        ("s3:GetObject", f"{ARTIFACTS}/compiled/other/x"),
        ("s3:PutObject", f"{ARTIFACTS}/models/digits/other.tar.gz"),
        ("sagemaker:CreateCompilationJob", f"{JOBS}:compilation-job/test-digits-1-0-0123456789ab"),
        ("greengrass:CreateComponentVersion", f"{COMPONENTS}:test.com.edgemanager.model.digits"),
        ("iam:PassRole", "arn:aws:iam::111122223333:role/admin"),
    ):
        assert not allows(template, role, action, resource), (action, resource)
    assert job["KmsKeyId"] == "alias/packages"
    check_encryption(template, role, ["kms:Decrypt", "kms:GenerateDataKey"])


def check_encryption(template: Mapping[str, Any], role: str, actions: list[str]) -> None:
    """KMS knows no aliases as resources: the condition is the bound."""
    by_alias = [s for s in statements(template, role) if "kms:ResourceAliases" in json.dumps(s.get("Condition", {}))]
    assert [s["Action"] if isinstance(s["Action"], list) else [s["Action"]] for s in by_alias] == [actions]
    assert by_alias[0]["Condition"] == {"ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/packages"}}


def test_sagemakers_packaging(stacks: dict[str, Any], allows: Any) -> None:
    template = stacks["sagemaker"]["Models"]
    job = properties_of(template, "Custom::SageMakerEdgePackagingJob")
    service, handler = role_of(template, "PackagedigitsRole"), role_of(template, "PackagedigitsHandlerRole")
    compiled = arn(properties_of(template, "Custom::CompilationJob")["OutputConfig"]["S3OutputLocation"])
    packages = arn(job["OutputConfig"]["S3OutputLocation"])
    component = f"{COMPONENTS}:test.com.edgemanager.model.digits"
    name = "edge-packaging-job/test-digits-1-0-0123456789ab"
    for role, action, resource in (
        (handler, "sagemaker:CreateEdgePackagingJob", f"{JOBS}:{name}"),
        (handler, "sagemaker:DescribeEdgePackagingJob", f"{JOBS}:{name}"),
        (handler, "sagemaker:StopEdgePackagingJob", f"{JOBS}:{name}"),
        (handler, "sagemaker:DescribeEdgePackagingJob", f"{JOBS}:{name.replace('1-0', '2-0')}"),
        (handler, "sagemaker:StopEdgePackagingJob", f"{JOBS}:{name.replace('1-0', '2-0')}"),
        (handler, "s3:GetObject", f"{packages}/digits-1.0.tar.gz"),
        (handler, "s3:ListBucket", ARTIFACTS),
        (service, "s3:GetObject", f"{compiled}/digits-rasp4b.tar.gz"),
        (service, "s3:PutObject", f"{packages}/digits-1.0.tar.gz"),
        (service, "greengrass:CreateComponentVersion", component),
        (service, "greengrass:DescribeComponent", f"{component}:versions:1.0.1"),
        (service, "kms:DescribeKey", VOLUME),
    ):
        assert allows(template, role, action, resource), (role, action, resource)
    for role, action, resource in (
        (handler, "sagemaker:CreateEdgePackagingJob", f"{JOBS}:edge-packaging-job/other"),
        (handler, "sagemaker:CreateDeviceFleet", f"{JOBS}:device-fleet/x"),
        (handler, "s3:PutObject", f"{packages}/digits-1.0.tar.gz"),
        (handler, "iam:PassRole", "arn:aws:iam::111122223333:role/admin"),
        (service, "s3:PutObject", f"{compiled}/digits-rasp4b.tar.gz"),
        (service, "s3:PutObject", f"{ARTIFACTS}/components/x"),
        (service, "greengrass:CreateComponentVersion", f"{COMPONENTS}:other"),
        (service, "greengrass:DeleteComponent", f"{component}:versions:1.0.1"),
        (service, "kms:Decrypt", VOLUME),
    ):
        assert not allows(template, role, action, resource), (role, action, resource)
    check_trust(template, service, handler)
    check_encryption(template, service, ["kms:Decrypt", "kms:GenerateDataKey"])
    check_encryption(template, handler, ["kms:Decrypt"])
    assert job["ResourceKey"] == VOLUME
    (grant,) = (s for s in statements(template, service) if "kms:CreateGrant" in s["Action"])
    assert (grant["Resource"], grant["Condition"]) == (VOLUME, {"Bool": {"kms:GrantIsForAWSResource": "true"}})


@pytest.mark.parametrize("mode", ["open", "sagemaker"])
def test_devices_can_read_what_is_encrypted_and_encrypt_nothing(mode: str, stacks: dict[str, Any]) -> None:
    template = stacks[mode]["Fleet"]
    check_encryption(template, role_of(template, "TokenExchangeRole"), ["kms:Decrypt"])


@pytest.mark.parametrize("mode", ["open", "sagemaker"])
def test_no_role_of_a_job_has_a_wildcard_for_an_action_or_for_everything(mode: str, stacks: dict[str, Any]) -> None:
    for template in stacks[mode].values():
        roles = [id_ for id_, resource in template["Resources"].items() if resource["Type"] == "AWS::IAM::Role"]
        for role in roles:
            for statement in statements(template, role):
                actions, resources = (
                    value if isinstance(value, list) else [value]
                    for value in (statement["Action"], statement["Resource"])
                )
                assert not [action for action in actions if "*" in action], statement
                assert "*" not in resources or role not in _of_jobs(roles), statement


def _of_jobs(roles: list[str]) -> list[str]:
    return [role for role in roles if role.startswith(("Compile", "Package", "Publisher", "SigningPublicKeys"))]


def test_publisher_membership_and_reader_of_keys(stacks: dict[str, Any], allows: Any) -> None:
    release, fleet = stacks["open"]["Release"], stacks["open"]["Fleet"]
    iot = "arn:aws:iot:us-east-1:111122223333"
    publisher = role_of(release, "PublisherHandlerRole")
    member = role_of(fleet, "DevicesMembershipRole")
    reader = role_of(release, "SigningPublicKeysHandlerRole")
    assets = "arn:aws:s3:::cdk-hnb659fds-assets-111122223333-us-east-1"
    for template, role, action, resource in (
        (release, publisher, "s3:GetObject", f"{assets}/x.zip"),
        (release, publisher, "s3:PutObject", f"{ARTIFACTS}/components/x/1.0.0/x.zip"),
        (release, publisher, "s3:ListBucket", ARTIFACTS),
        (fleet, member, "iot:AddThingToThingGroup", f"{iot}:thinggroup/test-fleet"),
        (fleet, member, "iot:RemoveThingFromThingGroup", f"{iot}:thing/test-device-1"),
    ):
        assert allows(template, role, action, resource), (role, action, resource)
    for template, role, action, resource in (
        (release, publisher, "s3:PutObject", f"{ARTIFACTS}/models/digits/x.tar.gz"),
        (release, publisher, "s3:DeleteObject", f"{ARTIFACTS}/components/x/1.0.0/x.zip"),
        (release, publisher, "s3:PutObject", f"{assets}/x.zip"),
        (fleet, member, "iot:AddThingToThingGroup", f"{iot}:thinggroup/prod-fleet"),
        (fleet, member, "iot:AddThingToThingGroup", f"{iot}:thing/prod-device-1"),
        (fleet, member, "iot:DeleteThing", f"{iot}:thing/test-device-1"),
        (release, reader, "kms:Sign", VOLUME),
        (release, reader, "kms:GetPublicKey", VOLUME),  # by no other way than the alias of the condition
    ):
        assert not allows(template, role, action, resource), (role, action, resource)
    (reading,) = (s for s in statements(release, reader) if "kms:GetPublicKey" in s["Action"])
    assert reading["Condition"] == {"StringEquals": {"kms:RequestAlias": ["alias/test-model-signing-1"]}}
