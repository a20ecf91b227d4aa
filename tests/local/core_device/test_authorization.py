# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.core_device.authorization import component_may, device_may, topic_matches
from local.core_device.iot_core import policy_allows_topic


@pytest.mark.parametrize(
    ("topic_filter", "topic", "matches"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/b/c", False),
        ("a/+", "a/b", True),
        ("a/+", "a", False),
        ("a/+", "a/b/c", False),
        ("+/b", "a/b", True),
        ("a/#", "a/b/c", True),
        ("a/#", "a", True),
        ("#", "a/b", True),
        ("a/#/c", "a/b/c", False),
        ("a", "A", False),
    ],
)
def test_topics_match_as_in_mqtt(topic_filter: str, topic: str, matches: bool) -> None:  # noqa: FBT001 # a table
    assert topic_matches(topic_filter, topic) is matches


@given(st.lists(st.text("abc", min_size=1), min_size=1, max_size=5), st.data())
def test_a_topic_with_any_levels_replaced_by_plus_still_matches(levels: list[str], data: st.DataObject) -> None:
    pattern = [data.draw(st.sampled_from([level, "+"])) for level in levels]
    assert topic_matches("/".join(pattern), "/".join(levels))


def may(policies: Any, operation: str, resource: str, *, mqtt: bool = True) -> bool:
    configuration = {"accessControl": {"service": policies}}
    return component_may(configuration, service="service", operation=operation, resource=resource, mqtt=mqtt)


def test_a_component_may_what_one_of_its_policies_says() -> None:
    policies = {
        "one": {"operations": ["aws.greengrass#Publish"], "resources": ["a/*", "b/+"]},
        "two": {"operations": ["*"], "resources": ["c"]},
    }
    assert may(policies, "Publish", "a/x/y")
    assert may(policies, "Publish", "b/x")
    assert may(policies, "Subscribe", "c")
    assert not may(policies, "Subscribe", "a/x")
    assert not may(policies, "Publish", "b/x/y")
    assert not may(policies, "Publish", "b/x", mqtt=False)
    assert not may({}, "Publish", "a")
    assert not component_may({}, service="service", operation="Publish", resource="a", mqtt=True)


def document(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


ALLOW: dict[str, Any] = {"Effect": "Allow", "Action": "iot:*", "Resource": ["arn:aws:iot:r:1:topic/a/*"]}


def test_a_device_may_what_is_allowed_and_not_denied() -> None:
    deny = {"Effect": "Deny", "Action": ["iot:Publish"], "Resource": "*secret*"}
    policy = document(ALLOW, deny)
    assert policy_allows_topic(policy, "iot:Publish", "a/b")
    assert policy_allows_topic(policy, "IOT:publish", "a/b")
    assert not policy_allows_topic(policy, "iot:Publish", "b")
    assert not policy_allows_topic(policy, "iot:Publish", "a/secret")
    assert not policy_allows_topic({}, "iot:Publish", "a/b")
    assert not device_may(policy, action="s3:GetObject", resource="arn:aws:iot:r:1:topic/a/b")


def test_a_statement_with_a_condition_does_not_allow() -> None:
    assert not policy_allows_topic(document(ALLOW | {"Condition": {"Bool": {}}}), "iot:Publish", "a/b")
