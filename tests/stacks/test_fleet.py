# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

CAPTURES = "arn:aws:s3:::sagemaker-dev-captures-111122223333-us-east-1"
ARTIFACTS = "arn:aws:s3:::edge-dev-artifacts-111122223333-us-east-1"
LOGS = "arn:aws:logs:us-east-1:111122223333:log-group:/aws/greengrass"

Resources = Callable[[dict[str, Any], str], dict[str, Any]]


@pytest.fixture
def fleet(templates: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return templates["Fleet"]


@pytest.fixture
def device_role(fleet: dict[str, Any], resources: Resources) -> str:
    roles = resources(fleet, "AWS::IAM::Role").items()
    (role,) = (id_ for id_, r in roles if r["Properties"].get("RoleName") == "SageMaker-dev-device")
    return role


def test_the_device_role_trusts_two_services_and_sagemaker_only_for_this_account(
    fleet: dict[str, Any], device_role: str
) -> None:
    role = fleet["Resources"][device_role]["Properties"]
    assert role["RoleName"] == "SageMaker-dev-device"
    trust = {s["Principal"]["Service"]: s.get("Condition") for s in role["AssumeRolePolicyDocument"]["Statement"]}
    assert trust == {
        "credentials.iot.amazonaws.com": None,
        "sagemaker.amazonaws.com": {"StringEquals": {"aws:SourceAccount": "111122223333"}},
    }
    assert "ManagedPolicyArns" not in role


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("s3:PutObject", f"{CAPTURES}/sme-capture/dev-fleet/digits/2026/01/01/00/a.jsonl"),
        ("s3:GetBucketLocation", CAPTURES),
        ("s3:GetBucketLocation", ARTIFACTS),
        ("s3:GetObject", f"{ARTIFACTS}/components/dev.com.edgemanager.Agent/1.0.0/agent.zip"),
        ("s3:GetObject", f"{ARTIFACTS}/models/digits/abc/digits-1.0.tar.gz"),
        ("logs:PutLogEvents", f"{LOGS}/GreengrassSystemComponent/us-east-1/System:log-stream:x"),
    ],
)
def test_a_device_can(action: str, resource: str, fleet: dict[str, Any], device_role: str, allows: Any) -> None:
    assert allows(fleet, device_role, action, resource)


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("s3:PutObject", f"{CAPTURES}/elsewhere"),
        ("s3:PutObject", f"{CAPTURES}/sme-capture"),
        ("s3:PutObject", f"{ARTIFACTS}/components/dev.com.edgemanager.Agent/1.0.0/agent.zip"),
        ("s3:PutObject", "arn:aws:s3:::another-sagemaker-bucket/sme-capture/x"),
        ("s3:GetObject", f"{CAPTURES}/sme-capture/dev-fleet/digits/2026/01/01/00/a.jsonl"),
        ("s3:GetObject", f"{ARTIFACTS}/secret"),
        ("s3:DeleteObject", f"{CAPTURES}/sme-capture/x"),
        ("s3:ListBucket", CAPTURES),
        ("s3:ListBucket", ARTIFACTS),
        ("iam:PassRole", "arn:aws:iam::111122223333:role/SageMaker-dev-device"),
        ("sts:AssumeRole", "arn:aws:iam::111122223333:role/SageMaker-dev-device"),
        ("greengrass:CreateComponentVersion", "*"),
        ("logs:PutLogEvents", "arn:aws:logs:us-east-1:111122223333:log-group:/aws/lambda/x"),
    ],
)
def test_a_device_cannot(action: str, resource: str, fleet: dict[str, Any], device_role: str, allows: Any) -> None:
    assert not allows(fleet, device_role, action, resource)


def test_buckets_are_private_encrypted_kept_and_take_tls_alone(fleet: dict[str, Any], resources: Resources) -> None:
    buckets = resources(fleet, "AWS::S3::Bucket")
    assert {r["Properties"]["BucketName"] for r in buckets.values()} == {CAPTURES[13:], ARTIFACTS[13:]}
    for id_, bucket in buckets.items():
        properties = bucket["Properties"]
        assert bucket["DeletionPolicy"] == bucket["UpdateReplacePolicy"] == "Retain"
        assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
        assert properties["BucketEncryption"]
        assert properties["LifecycleConfiguration"]["Rules"]
        (policy,) = (
            p["Properties"]["PolicyDocument"]["Statement"]
            for p in resources(fleet, "AWS::S3::BucketPolicy").values()
            if p["Properties"]["Bucket"] == {"Ref": id_}
        )
        denied = [s["Condition"] for s in policy if s["Effect"] == "Deny" and s["Principal"] == {"AWS": "*"}]
        assert {"Bool": {"aws:SecureTransport": "false"}} in denied


def test_captures_expire_and_artifacts_do_not(fleet: dict[str, Any], resources: Resources) -> None:
    rules = {
        r["Properties"]["BucketName"]: r["Properties"]["LifecycleConfiguration"]["Rules"]
        for r in resources(fleet, "AWS::S3::Bucket").values()
    }
    assert any(rule.get("ExpirationInDays") == 30 and rule["Prefix"] == "sme-capture/" for rule in rules[CAPTURES[13:]])
    assert not any("ExpirationInDays" in rule for rule in rules[ARTIFACTS[13:]])


def test_the_alias_is_the_roles(fleet: dict[str, Any], resources: Resources, device_role: str) -> None:
    (alias,) = resources(fleet, "AWS::IoT::RoleAlias").values()
    assert alias["Properties"]["RoleAlias"] == "SageMakerEdge-dev"
    assert alias["Properties"]["RoleArn"] == {"Fn::GetAtt": [device_role, "Arn"]}


def test_the_iot_policy_is_bound_to_the_environments_things_and_topic(
    fleet: dict[str, Any], resources: Resources
) -> None:
    (policy,) = resources(fleet, "AWS::IoT::Policy").values()
    statements = policy["Properties"]["PolicyDocument"]["Statement"]
    listed = [r for s in statements for r in s["Resource"] if isinstance(r, str)]
    assert not any(action.endswith("*") for s in statements for action in s["Action"])
    # Components and deployments have no name prefix of the environment's in their ARNs; all else has.
    unbound = [r for r in listed if "dev-" not in r and not r.endswith((":components:*", ":deployments:*"))]
    topic = "arn:aws:iot:us-east-1:111122223333:topic/gg/sageMakerEdgeManager"
    assert unbound == [f"{topic}/image-classification", f"{topic}/heartbeat"]


def test_every_device_is_a_thing_and_a_member_of_the_group(fleet: dict[str, Any], resources: Resources) -> None:
    things = resources(fleet, "AWS::IoT::Thing")
    (group,) = resources(fleet, "AWS::IoT::ThingGroup")
    assert [thing["Properties"]["ThingName"] for thing in things.values()] == ["dev-device-1"]
    (member,) = resources(fleet, "Custom::ThingGroupMembership").values()
    assert (member["Properties"]["ThingGroupName"], member["Properties"]["ThingName"]) == ("dev-fleet", "dev-device-1")
    assert {group, *things} <= set(member["DependsOn"])


def test_signing_keys_are_kept_unless_the_first_deployment_fails(fleet: dict[str, Any], resources: Resources) -> None:
    kept = [*resources(fleet, "AWS::KMS::Key").values(), *resources(fleet, "AWS::KMS::Alias").values()]
    assert len(kept) == 2
    for resource in kept:
        assert resource["DeletionPolicy"] == "RetainExceptOnCreate"
        assert resource["UpdateReplacePolicy"] == "Retain"
