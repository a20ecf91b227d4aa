# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

from edge_constructs import group_membership_handler as handler
from edge_constructs.handler_kernel import ResourceError


class Groups:
    """IoT's memberships in memory."""

    def __init__(self) -> None:
        self.members: set[tuple[str, str]] = set()
        self.error: Exception | None = None
        self.refused = ""

    def add(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        if asked["thingGroupName"] == self.refused:
            raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow down"}}, "Add")
        assert not any(thing == asked["thingName"] for group, thing in self.members if group != asked["thingGroupName"])
        self.members.add((asked["thingGroupName"], asked["thingName"]))
        return {}

    def remove(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        self.members.discard((asked["thingGroupName"], asked["thingName"]))
        return {}


@pytest.fixture(autouse=True)
def groups(make_client: Any, monkeypatch: pytest.MonkeyPatch) -> Groups:
    groups = Groups()
    client = make_client("iot", {"AddThingToThingGroup": groups.add, "RemoveThingFromThingGroup": groups.remove})
    monkeypatch.setattr(handler, "_handler", lambda: handler.GroupMembership(client))
    return groups


def event(
    type_: str, physical_id: str | None = None, thing: str = "dev-device-1", group: str = "dev-fleet"
) -> dict[str, Any]:
    request: dict[str, Any] = {
        "RequestType": type_,
        "LogicalResourceId": "Member",
        "ResourceProperties": {"ServiceToken": "arn", "ThingGroupName": group, "ThingName": thing},
    }
    return request if physical_id is None else {**request, "PhysicalResourceId": physical_id}


def test_a_thing_joins_stays_and_leaves(groups: Groups) -> None:
    physical_id = handler.on_event(event("Create"), None)["PhysicalResourceId"]
    assert handler.on_event(event("Update", physical_id), None)["PhysicalResourceId"] == physical_id
    assert groups.members == {("dev-fleet", "dev-device-1")}
    handler.on_event(event("Delete", physical_id), None)
    handler.on_event(event("Delete", physical_id), None)
    assert groups.members == set()


def test_an_update_to_another_thing_is_another_membership_and_the_old_one_is_removed_by_its_id(groups: Groups) -> None:
    former = handler.on_event(event("Create"), None)["PhysicalResourceId"]
    latter = handler.on_event(event("Update", former, thing="dev-device-2"), None)["PhysicalResourceId"]
    assert former != latter
    # CloudFormation deletes the replaced id with the properties that it had; the id alone decides.
    handler.on_event(event("Delete", former, thing="dev-device-2"), None)
    assert groups.members == {("dev-fleet", "dev-device-2")}


def test_a_thing_that_becomes_a_canary_and_back_is_in_one_group_at_any_time(groups: Groups) -> None:
    fleet = handler.on_event(event("Create"), None)["PhysicalResourceId"]
    # The double refuses a thing that is in another group still.
    canary = handler.on_event(event("Update", fleet, group="dev-canary"), None)["PhysicalResourceId"]
    assert groups.members == {("dev-canary", "dev-device-1")}
    handler.on_event(event("Delete", fleet), None)  # CloudFormation's cleaning up of what was replaced
    assert groups.members == {("dev-canary", "dev-device-1")}
    # A stack that is rolled back updates once more, the other way round.
    assert handler.on_event(event("Update", canary), None)["PhysicalResourceId"] == fleet
    handler.on_event(event("Delete", canary, group="dev-canary"), None)
    assert groups.members == {("dev-fleet", "dev-device-1")}


def test_a_move_that_fails_leaves_the_thing_where_it_was(groups: Groups) -> None:
    fleet = handler.on_event(event("Create"), None)["PhysicalResourceId"]
    groups.refused = "dev-canary"
    with pytest.raises(ClientError, match="slow down"):
        handler.on_event(event("Update", fleet, group="dev-canary"), None)
    assert groups.members == {("dev-fleet", "dev-device-1")}


def test_a_thing_or_group_that_is_gone_counts_as_out(groups: Groups, service_error: Any) -> None:
    groups.error = service_error("ResourceNotFoundException", 404)
    membership = "dev-fleet/dev-device-1"
    assert handler.on_event(event("Delete", membership), None) == {"PhysicalResourceId": membership}


@pytest.mark.parametrize(
    ("code", "status"),
    [("ThrottlingException", 429), ("UnauthorizedException", 401), ("InternalFailureException", 500)],
)
def test_any_other_error_of_the_service_fails_the_deletion(
    groups: Groups, service_error: Any, code: str, status: int
) -> None:
    groups.error = service_error(code, status)
    with pytest.raises(ClientError, match=code):
        handler.on_event(event("Delete", "dev-fleet/dev-device-1"), None)


def test_a_delete_after_a_failed_create_removes_nobody(groups: Groups) -> None:
    groups.members.add(("dev-fleet", "dev-device-1"))
    handler.on_event(event("Delete", "AWSCDK::CustomResourceProviderFramework::CREATE_FAILED"), None)
    assert groups.members == {("dev-fleet", "dev-device-1")}


def test_a_missing_name_is_said() -> None:
    with pytest.raises(ResourceError, match="ThingName"):
        handler.on_event(event("Create", thing=""), None)
