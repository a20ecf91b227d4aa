# SPDX-License-Identifier: Apache-2.0
"""Puts a thing into a thing group: CloudFormation has no type for it, and a deployment reaches only members."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Protocol

import boto3
from botocore.exceptions import ClientError

from edge_constructs.handler_kernel import Request, Response, handle

_SEPARATOR = "/"  # neither a thing's nor a group's name may hold it


class Iot(Protocol):
    """The calls of boto3's IoT client that are made here."""

    def add_thing_to_thing_group(self, *, thingGroupName: str, thingName: str) -> Any:  # noqa: N803 -- boto3's names
        """AddThingToThingGroup."""

    def remove_thing_from_thing_group(self, *, thingGroupName: str, thingName: str) -> Any:  # noqa: N803
        """RemoveThingFromThingGroup."""


class GroupMembership:
    """Properties: ThingGroupName, ThingName. The physical id is both: another pair is another membership."""

    def __init__(self, iot: Iot) -> None:
        self._iot = iot

    def apply(self, request: Request) -> Response:
        """Add the thing; adding a member again changes nothing."""
        group, thing = request.text("ThingGroupName"), request.text("ThingName")
        self._iot.add_thing_to_thing_group(thingGroupName=group, thingName=thing)
        return Response(PhysicalResourceId=f"{group}{_SEPARATOR}{thing}")

    def delete(self, request: Request) -> None:
        """Take out the thing that the physical id names; one that is gone is out already."""
        group, separator, thing = (request.physical_id or "").partition(_SEPARATOR)
        if not separator:  # the creation failed before there was a membership
            return
        try:
            self._iot.remove_thing_from_thing_group(thingGroupName=group, thingName=thing)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise


@functools.cache
def _handler() -> GroupMembership:
    return GroupMembership(boto3.client("iot"))


def on_event(event: Mapping[str, Any], context: object) -> Response:
    """Lambda entry point."""
    return handle(_handler(), event, context)
