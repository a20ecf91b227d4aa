# SPDX-License-Identifier: Apache-2.0
"""Statement by statement: what counts as more, as less, and as neither."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from change_report.engine import compare
from change_report.guards import changed_powers, open_guards
from change_report.patterns import covers
from change_report.permissions import compare_permissions
from change_report.statements import collect

Template = dict[str, Any]
Judged = set[tuple[str, str]]


def policy(*statements: Mapping[str, Any]) -> Template:
    document = {"Version": "2012-10-17", "Statement": list(statements)}
    properties = {"PolicyName": "P", "Roles": [{"Ref": "Role"}], "PolicyDocument": document}
    return {"Resources": {"Policy": {"Type": "AWS::IAM::Policy", "Properties": properties}}}


def attached(type_: str, properties: Mapping[str, Any]) -> Template:
    return {"Resources": {"Thing0123ABCD": {"Type": type_, "Properties": dict(properties)}}}


def allow(action: Any, resource: Any, **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def judged(before: Template, after: Template) -> Judged:
    changes = compare_permissions(collect({"Stack": before}), collect({"Stack": after}))
    return {(change.direction, change.text) for change in changes}


def directions(before: Template, after: Template) -> set[str]:
    return {direction for direction, _ in judged(before, after)}


BUCKET = "arn:aws:s3:::bucket"
ORGANISATION = {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (allow("s3:GetObject", f"{BUCKET}/a/*"), allow("s3:GetObject", f"{BUCKET}/*"), {"widened"}),
        (allow("s3:GetObject", f"{BUCKET}/*"), allow("s3:GetObject", f"{BUCKET}/a/*"), {"narrowed"}),
        (allow("s3:Get*", "*"), allow(["s3:GetObject", "s3:GetBucketLocation"], f"{BUCKET}*"), {"narrowed"}),
        (allow("s3:GetObject", "*"), allow("S3:getobject", "*"), set()),
        (allow(["a:B", "a:C"], "*"), allow(["a:C", "a:B"], ["*"]), set()),
        (allow("s3:GetObject", "*", Condition=ORGANISATION), allow("s3:GetObject", "*"), {"widened"}),
        (allow("s3:GetObject", "*"), allow("s3:GetObject", "*", Condition=ORGANISATION), {"narrowed"}),
        (
            allow("s3:GetObject", "*", Condition=ORGANISATION),
            allow("s3:GetObject", "*", Condition={"StringEquals": {"aws:PrincipalOrgID": ["o-1", "o-2"]}}),
            {"widened"},
        ),
        (
            allow("s3:GetObject", "*", Condition=ORGANISATION),
            allow("s3:GetObject", "*", Condition={"StringLike": {"aws:PrincipalOrgID": "o-1"}}),
            {"widened", "narrowed"},  # not certain, so never passed over
        ),
        (
            allow("s3:GetObject", "*", Condition={"NumericLessThan": {"aws:MultiFactorAuthAge": "300"}}),
            allow("s3:GetObject", "*", Condition={"NumericLessThan": {"aws:MultiFactorAuthAge": "600"}}),
            {"widened"},
        ),
        (
            allow("s3:GetObject", "*", Condition={"StringEqualsIfExists": {"aws:PrincipalOrgID": "o-1"}}),
            allow("s3:GetObject", "*", Condition=ORGANISATION),
            {"narrowed"},
        ),
        ({**allow("s3:*", "*"), "Effect": "Deny"}, {**allow("s3:Put*", "*"), "Effect": "Deny"}, {"widened"}),
        ({**allow("s3:Put*", "*"), "Effect": "Deny"}, {**allow("s3:*", "*"), "Effect": "Deny"}, {"narrowed"}),
        (
            allow("s3:GetObject", "*"),
            {"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"},
            {"widened", "narrowed"},
        ),
    ],
)
def test_statements_are_judged_by_what_they_cover(
    before: dict[str, Any], after: dict[str, Any], expected: set[str]
) -> None:
    assert directions(policy(before), policy(after)) == expected


def test_a_statement_split_in_two_allows_the_same() -> None:
    whole = policy(allow(["s3:GetObject", "s3:PutObject"], [f"{BUCKET}/a", f"{BUCKET}/b"]))
    split = policy(
        allow(["s3:GetObject", "s3:PutObject"], f"{BUCKET}/a"), allow(["s3:GetObject", "s3:PutObject"], f"{BUCKET}/b")
    )
    assert judged(whole, split) == set()


def test_what_is_named_by_its_content_moves_with_it() -> None:
    former, latter = f"{BUCKET}/models/{'a1' * 32}/m-1.0.tar.gz", f"{BUCKET}/models/{'b2' * 32}/m-1.1.tar.gz"
    assert directions(policy(allow("s3:PutObject", former)), policy(allow("s3:PutObject", latter))) == {"moved"}
    both = policy(allow("s3:PutObject", [former, latter]))
    assert directions(policy(allow("s3:PutObject", former)), both) == {"widened"}
    wildcard = policy(allow("s3:PutObject", f"{BUCKET}/models/{'b2' * 32}/*"))
    assert directions(policy(allow("s3:PutObject", former)), wildcard) == {"widened", "narrowed"}
    elsewhere = policy(allow("s3:PutObject", latter.replace("bucket", "other")))
    assert directions(policy(allow("s3:PutObject", former)), elsewhere) == {"widened", "narrowed"}


DEVICE = attached("AWS::IoT::Policy", {"PolicyDocument": {"Statement": [allow("iot:Connect", "client/dev-*")]}})
TRUST = "AssumeRolePolicyDocument"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (
            DEVICE,
            attached("AWS::IoT::Policy", {"PolicyDocument": {"Statement": [allow("iot:Connect", "client/*")]}}),
            ("widened", "Thing device certificates may iot:Connect on client/*"),
        ),
        (
            attached("AWS::IAM::Role", {TRUST: {"Statement": []}}),
            attached(
                "AWS::IAM::Role",
                {TRUST: {"Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}}]}},
            ),
            ("widened", "Thing may be assumed by *"),
        ),
        (
            attached("AWS::IAM::Role", {}),
            attached("AWS::IAM::Role", {"ManagedPolicyArns": ["arn:aws:iam::aws:policy/AdministratorAccess"]}),
            ("widened", "Thing may all of managed policy on arn:aws:iam::aws:policy/AdministratorAccess"),
        ),
        (
            attached("AWS::KMS::Key", {"KeyPolicy": {"Statement": []}}),
            attached(
                "AWS::KMS::Key",
                {"KeyPolicy": {"Statement": [allow("kms:Sign", "*", Principal={"AWS": "arn:aws:iam::2:root"})]}},
            ),
            ("widened", "Thing lets arn:aws:iam::2:root kms:Sign"),
        ),
        (
            attached(
                "AWS::Lambda::Permission", {"FunctionName": "f", "Action": "lambda:InvokeFunction", "Principal": "p"}
            ),
            attached(
                "AWS::Lambda::Permission",
                {"FunctionName": "f", "Action": "lambda:InvokeFunction", "Principal": "p", "SourceArn": "arn:x"},
            ),
            ("narrowed", "f lets p lambda:InvokeFunction"),
        ),
        (
            attached("AWS::SQS::QueuePolicy", {"Queues": [{"Ref": "Q"}], "PolicyDocument": {"Statement": []}}),
            attached(
                "AWS::SQS::QueuePolicy",
                {
                    "Queues": [{"Ref": "Q"}],
                    "PolicyDocument": {"Statement": [allow("sqs:SendMessage", "*", Principal={"Service": "s3.a"})]},
                },
            ),
            ("widened", "Q lets s3.a sqs:SendMessage"),
        ),
    ],
)
def test_every_carrier_of_statements_is_read(before: Template, after: Template, expected: tuple[str, str]) -> None:
    assert expected in judged(before, after)


def test_a_boundary_that_goes_widens() -> None:
    role = {"Policies": [{"PolicyName": "p", "PolicyDocument": {"Statement": [allow("s3:*", "*")]}}]}
    bound = attached("AWS::IAM::Role", {**role, "PermissionsBoundary": "arn:aws:iam::1:policy/b"})
    assert judged(bound, attached("AWS::IAM::Role", role)) == {
        ("widened", "Thing may no longer denied: all outside boundary on arn:aws:iam::1:policy/b")
    }


def test_a_public_bucket_is_read_through_its_policy() -> None:
    def bucket(*statements: Mapping[str, Any]) -> Template:
        return attached(
            "AWS::S3::BucketPolicy",
            {"Bucket": {"Ref": "Captures01234567"}, "PolicyDocument": {"Statement": statements}},
        )

    public = allow("s3:GetObject", f"{BUCKET}/*", Principal="*")
    assert judged(bucket(), bucket(public)) == set()  # a document of tuples is none: JSON has lists
    assert judged(bucket(), json.loads(json.dumps(bucket(public)))) == {
        ("widened", f"Captures lets * s3:GetObject on {BUCKET}/*")
    }


def test_a_policy_that_goes_no_longer_denies_unless_its_resource_goes_too() -> None:
    deny = {"Effect": "Deny", "Action": "s3:*", "Resource": "*", "Principal": "*"}
    bucket = {"Captures01234567": {"Type": "AWS::S3::Bucket", "Properties": {}}}
    properties = {"Bucket": {"Ref": "Captures01234567"}, "PolicyDocument": {"Statement": [deny]}}
    guarded = {"S": {"Resources": {**bucket, "P": {"Type": "AWS::S3::BucketPolicy", "Properties": properties}}}}
    changes = compare_permissions(collect(guarded), collect({"S": {"Resources": bucket}}), gone={"P"})
    assert [change.text for change in changes] == ["Captures lets * no longer denied: s3:*"]
    assert compare_permissions(collect(guarded), {}, gone={"P", "Captures01234567"}) == []


def test_a_bucket_that_opens_to_the_public_is_wider() -> None:
    names = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")

    def bucket(*, closed: bool) -> dict[str, Template]:
        block = {"PublicAccessBlockConfiguration": dict.fromkeys(names, closed)}
        return {"S": attached("AWS::S3::Bucket", block)}

    opened = open_guards(bucket(closed=True), bucket(closed=False))
    assert [change.direction for change in opened] == ["widened"] * 4
    assert opened[0].text == "Thing: PublicAccessBlockConfiguration.BlockPublicAcls no longer keeps others out"
    assert [change.direction for change in open_guards(bucket(closed=False), bucket(closed=True))] == ["narrowed"] * 4
    assert open_guards({}, bucket(closed=True)) == []
    assert len(open_guards({}, {"S": attached("AWS::S3::Bucket", {})})) == 4


@pytest.mark.parametrize(
    ("type_", "key"),
    [
        ("AWS::Lambda::Function", "Role"),
        ("AWS::IoT::RoleAlias", "RoleArn"),
        ("AWS::CodeBuild::Project", "ServiceRole"),
    ],
)
def test_what_acts_as_another_role_may_do_other_things(type_: str, key: str) -> None:
    def acting(role: str) -> dict[str, Template]:
        return {"S": attached(type_, {key: {"Fn::GetAtt": [role, "Arn"]}})}

    (change,) = changed_powers(acting("Reader01234567"), acting("Writer01234567"))
    assert (change.direction, change.text) == ("widened", "Thing acts as Writer.Arn, and no longer as Reader.Arn")
    assert changed_powers(acting("Reader01234567"), acting("Reader01234567")) == []


def test_a_component_that_becomes_root_on_the_device_is_wider() -> None:
    def recipe(**step: Any) -> dict[str, Template]:
        content = {"ComponentName": "c", "Manifests": [{"Lifecycle": {"Run": {"Script": "x", **step}}}]}
        return {"S": attached("AWS::GreengrassV2::ComponentVersion", {"InlineRecipe": content})}

    def deployed(user: str) -> dict[str, Template]:
        components = {"c": {"ComponentVersion": "1.0.0", "RunWith": {"PosixUser": user}}}
        return {"S": attached("AWS::GreengrassV2::Deployment", {"Components": components})}

    (change,) = changed_powers(recipe(), recipe(RequiresPrivilege=True))
    assert (change.direction, change.text) == ("widened", "c on the device runs Manifests.0.Lifecycle.Run as root")
    assert [one.direction for one in changed_powers(recipe(RequiresPrivilege=True), recipe())] == ["narrowed"]
    assert changed_powers(recipe(RequiresPrivilege=False), recipe()) == []
    assert [one.direction for one in changed_powers(deployed("ggc_user"), deployed("root:root"))] == ["widened"]


def test_what_a_deployment_merges_over_a_recipe_is_what_a_component_may() -> None:
    def access(topic: str) -> dict[str, Any]:
        rule = {"operations": ["aws.greengrass#PublishToIoTCore"], "resources": [topic]}
        return {"aws.greengrass.ipc.mqttproxy": {"c:mqttproxy:1": rule}}

    recipe = {
        "ComponentName": "c",
        "ComponentConfiguration": {"DefaultConfiguration": {"accessControl": access("default")}},
    }
    version = {"Type": "AWS::GreengrassV2::ComponentVersion", "Properties": {"InlineRecipe": recipe}}

    def deployed(topic: str) -> Template:
        merge = {"ConfigurationUpdate": {"Merge": {"accessControl": access(topic)}}}
        deployment = {"Type": "AWS::GreengrassV2::Deployment", "Properties": {"Components": {"c": merge}}}
        return {"Resources": {"V": version, "D": deployment}}

    may = "c on the device may aws.greengrass#PublishToIoTCore on"
    assert judged(deployed("one"), deployed("#")) == {("widened", f"{may} #"), ("narrowed", f"{may} one")}


def test_the_engine_sees_no_statement_that_is_not_judged_here() -> None:
    """Held against the CDK's own engine: whatever it calls a change of permissions is one here."""
    pairs = [
        (policy(allow("s3:GetObject", "*")), policy(allow("s3:*", "*"))),
        (DEVICE, attached("AWS::IoT::Policy", {"PolicyDocument": {"Statement": [allow("iot:*", "*")]}})),
        (policy(allow("s3:GetObject", "*")), {"Resources": {}}),
    ]
    for (before, after), diff in zip(pairs, compare(pairs), strict=True):
        assert diff.iam
        assert judged(before, after)


_TEXT = st.text(alphabet="ab:/", max_size=6)
_PATTERN = st.text(alphabet="ab:/*?", max_size=6)


@given(_PATTERN, _PATTERN, _TEXT)
def test_a_pattern_that_covers_another_matches_all_that_it_matches(pattern: str, other: str, text: str) -> None:
    if covers(pattern, other) and fnmatch.fnmatchcase(text, other):
        assert fnmatch.fnmatchcase(text, pattern)


@given(_PATTERN)
def test_a_pattern_covers_itself_and_a_star_covers_all(pattern: str) -> None:
    assert covers(pattern, pattern)
    assert covers("*", pattern)
