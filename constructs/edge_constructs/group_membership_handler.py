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
    """Properties: ThingGroupName, ThingName. The physical id is both: another pair is another membership.

    An update to another group moves the thing: out of the former group first, so that it is in both at no time and
    takes no deployment of both. CloudFormation deletes the former membership later, and finds it gone.
    """

    def __init__(self, iot: Iot) -> None:
        self._iot = iot

    def apply(self, request: Request) -> Response:
        """Add the thing; adding a member again changes nothing."""
        group, thing = request.text("ThingGroupName"), request.text("ThingName")
        former, of = _membership(request.physical_id) or (group, thing)
        moves = of == thing and former != group
        if moves:
            self._remove(former, thing)
        try:
            self._iot.add_thing_to_thing_group(thingGroupName=group, thingName=thing)
        except ClientError:
            if moves:  # in no group it would get no deployment at all
                self._iot.add_thing_to_thing_group(thingGroupName=former, thingName=thing)
            raise
        return Response(PhysicalResourceId=f"{group}{_SEPARATOR}{thing}")

    def delete(self, request: Request) -> None:
        """Take out the thing that the physical id names; one that is gone is out already."""
        membership = _membership(request.physical_id)
        if membership is not None:
            self._remove(*membership)

    def _remove(self, group: str, thing: str) -> None:
        try:
            self._iot.remove_thing_from_thing_group(thingGroupName=group, thingName=thing)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise


def _membership(physical_id: str | None) -> tuple[str, str] | None:
    """Group and thing; None where the creation failed before there was a membership."""
    group, separator, thing = (physical_id or "").partition(_SEPARATOR)
    return (group, thing) if separator else None


@functools.cache
def _handler() -> GroupMembership:
    return GroupMembership(boto3.client("iot"))


def on_event(event: Mapping[str, Any], context: object) -> Response:
    """Lambda entry point."""
    return handle(_handler(), event, context)
