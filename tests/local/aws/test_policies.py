# SPDX-License-Identifier: Apache-2.0
"""The evaluator, rule by rule of the IAM user guide; test_recorded_permissions.py holds it against the emulator."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.aws.policies import Decision, PolicyError, Request, decide, statements_of

ALLOW, DENY, IMPLICIT = Decision.ALLOW, Decision.DENY, Decision.IMPLICIT_DENY


def statement(effect: str = "Allow", **elements: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {"Effect": effect}
    if "NotAction" not in elements:
        defaults["Action"] = "*"
    if "NotResource" not in elements:
        defaults["Resource"] = "*"
    return {**defaults, **elements}


def answer(*statements: dict[str, Any], action: str = "s3:GetObject", resource: str = "r", **context: Any) -> Decision:
    return decide(statements_of({"Statement": list(statements)}), Request(action, resource, context))


def test_nothing_allows_by_default() -> None:
    assert decide([], Request("s3:GetObject", "arn:aws:s3:::b/k")) is IMPLICIT


def test_an_explicit_deny_wins_wherever_it_stands() -> None:
    assert answer(statement(), statement("Deny")) is DENY
    assert answer(statement("Deny"), statement()) is DENY
    assert answer(statement("Deny", Action="s3:Put*"), statement()) is ALLOW


@pytest.mark.parametrize(
    ("pattern", "action", "matches"),
    [
        ("s3:GetObject", "S3:getobject", True),
        ("s3:Get*", "s3:GetObjectTagging", True),
        ("s3:*", "s3express:GetObject", False),
        ("*", "anything:AtAll", True),
        ("s3:GetObjec?", "s3:GetObject", True),
        ("s3:GetObject?", "s3:GetObject", False),
        ("s3:GetObject", "s3:GetObjectTagging", False),
        ("s3:Get.bject", "s3:GetObject", False),
    ],
)
def test_actions_in_any_case_with_wildcards(pattern: str, action: str, matches: bool) -> None:  # noqa: FBT001
    assert answer(statement(Action=[pattern]), action=action) is (ALLOW if matches else IMPLICIT)


@pytest.mark.parametrize(
    ("pattern", "resource", "matches"),
    [
        ("arn:aws:s3:::b/*", "arn:aws:s3:::b/a/b c/d", True),
        ("arn:aws:s3:::b/*", "arn:aws:s3:::B/a", False),
        ("arn:aws:s3:::b/*", "arn:aws:s3:::b", False),
        ("arn:aws:s3:::b/?", "arn:aws:s3:::b/ab", False),
        ("arn:aws:s3:::b/x*y/z", "arn:aws:s3:::b/x/1/y/z", True),
        ("arn:aws:logs:*:1:log-group:/aws/x/*", "arn:aws:logs:eu-west-1:1:log-group:/aws/x/y:log-stream:z", True),
        ("arn:aws:iot:*", "arn:aws:iot:us-east-1:1:thing/a", True),
        ("arn:aws:iot:us-*1:1:thing/a", "arn:aws:iot:us-east-1:1:thing/a", True),
        ("arn:aws:iot:u*1:thing/a", "arn:aws:iot:us-east-1:1:thing/a", False),
        ("*", "*", True),
        ("arn:aws:s3:::b", "*", False),
    ],
)
def test_resources_in_their_case_with_wildcards_in_segments(pattern: str, resource: str, matches: bool) -> None:  # noqa: FBT001
    assert answer(statement(Resource=pattern), resource=resource) is (ALLOW if matches else IMPLICIT)


def test_the_not_forms() -> None:
    assert answer(statement(NotAction=["s3:Put*"])) is ALLOW
    assert answer(statement(NotAction=["s3:Put*"]), action="S3:putObject") is IMPLICIT
    assert answer(statement(NotResource="arn:aws:s3:::secret/*"), resource="arn:aws:s3:::open/1") is ALLOW
    assert answer(statement(NotResource="arn:aws:s3:::secret/*"), resource="arn:aws:s3:::secret/1") is IMPLICIT


@pytest.mark.parametrize(
    ("condition", "context", "matches"),
    [
        ({"StringEquals": {"cloudwatch:namespace": "Edge"}}, {"cloudwatch:namespace": "Edge"}, True),
        ({"StringEquals": {"CloudWatch:Namespace": ["A", "Edge"]}}, {"cloudwatch:namespace": "Edge"}, True),
        ({"StringEquals": {"cloudwatch:namespace": "edge"}}, {"cloudwatch:namespace": "Edge"}, False),
        ({"StringEquals": {"cloudwatch:namespace": "E*"}}, {"cloudwatch:namespace": "Edge"}, False),
        ({"StringEquals": {"cloudwatch:namespace": "Edge"}}, {}, False),
        ({"StringEqualsIfExists": {"iam:PassedToService": "iot"}}, {}, True),
        ({"StringEqualsIfExists": {"iam:PassedToService": "iot"}}, {"iam:PassedToService": "ec2"}, False),
        ({"StringEqualsIgnoreCase": {"k:k": "EDGE"}}, {"k:k": "edge"}, True),
        ({"StringNotEquals": {"k:k": ["a", "b"]}}, {"k:k": "c"}, True),
        ({"StringNotEquals": {"k:k": ["a", "b"]}}, {"k:k": "b"}, False),
        ({"StringNotEquals": {"k:k": "a"}}, {}, True),
        ({"StringLike": {"s3:prefix": "home/*"}}, {"s3:prefix": "home/me"}, True),
        ({"StringNotLike": {"s3:prefix": "home/*"}}, {"s3:prefix": "home/me"}, False),
        (
            {"ArnLike": {"aws:SourceArn": "arn:aws:iot:*:1:rule/*"}},
            {"aws:SourceArn": "arn:aws:iot:eu:1:rule/a:b"},
            True,
        ),
        ({"ArnLike": {"aws:SourceArn": "arn:aws:*:1:rule/a"}}, {"aws:SourceArn": "arn:aws:iot:eu:1:rule/a"}, False),
        ({"Bool": {"aws:SecureTransport": "false"}}, {"aws:SecureTransport": "False"}, True),
        ({"ForAnyValue:StringEquals": {"k:k": "alias/a"}}, {"k:k": ["alias/b", "alias/a"]}, True),
        ({"ForAnyValue:StringEquals": {"k:k": "alias/a"}}, {"k:k": "alias/a"}, True),
        ({"ForAnyValue:StringEquals": {"k:k": "alias/a"}}, {"k:k": ["alias/b"]}, False),
        ({"ForAnyValue:StringEquals": {"k:k": "alias/a"}}, {}, False),
        ({"Null": {"aws:TokenIssueTime": "true"}}, {}, True),
        ({"Null": {"aws:TokenIssueTime": "false"}}, {}, False),
        ({"StringEquals": {"a:a": "1"}, "StringLike": {"b:b": "2*"}}, {"a:a": "1", "b:b": "3"}, False),
        ({"StringEquals": {"a:a": "1", "b:b": "2"}}, {"a:a": "1"}, False),
    ],
)
def test_conditions(condition: Any, context: Any, matches: bool) -> None:  # noqa: FBT001
    assert answer(statement(Condition=condition), **context) is (ALLOW if matches else IMPLICIT)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (statement(Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}), "condition operator IpAddress: expected"),
        (statement(Condition={"ForAllValues:StringLike": {"a:a": "b"}}), "condition operator ForAllValues"),
        (statement(Principal="*"), "Principal is not known here"),
        (statement(NotAction="s3:*", Action="s3:*"), "exactly one of Action and NotAction"),
        ({"Effect": "Allow", "Action": "*"}, "exactly one of Resource and NotResource"),
        (statement("allow"), "Effect Allow or Deny"),
    ],
)
def test_what_is_not_known_is_refused(broken: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        answer(broken)


_PATTERNS = st.text(alphabet="ab:*?", max_size=6)


@given(st.lists(st.tuples(st.sampled_from(["Allow", "Deny"]), _PATTERNS, _PATTERNS), max_size=4), _PATTERNS, _PATTERNS)
def test_a_further_deny_never_allows_and_a_further_allow_never_denies(
    rows: list[tuple[str, str, str]], action: str, resource: str
) -> None:
    statements = [statement(effect, Action=acts, Resource=on) for effect, acts, on in rows]
    before = answer(*statements, action=action, resource=resource)
    assert answer(*statements, statement("Deny"), action=action, resource=resource) is DENY
    after = answer(*statements, statement(), action=action, resource=resource)
    assert after is (DENY if before is DENY else ALLOW)
