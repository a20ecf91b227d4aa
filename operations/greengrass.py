# SPDX-License-Identifier: Apache-2.0
"""What several operations ask of AWS IoT Greengrass."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from operations.errors import OperationError, tolerating
from operations.target import Target

_UNFINISHED = frozenset({"IN_PROGRESS", "QUEUED"})
_POLL_SECONDS = 2.0


def pages(client: Any, operation: str, key: str, **arguments: Any) -> list[Any]:
    """All items of a listing operation."""
    found: list[Any] = []
    for page in client.get_paginator(operation).paginate(**arguments):
        found += page.get(key, [])
    return found


def deployments_of_group(target: Target, group_arn: str) -> list[str]:
    """Ids of every deployment that targets a thing group, also of superseded ones."""
    client = target.client("greengrassv2")
    listed = pages(client, "list_deployments", "deployments", targetArn=group_arn, historyFilter="ALL")
    return [str(item["deploymentId"]) for item in listed]


def delete_deployment(target: Target, deployment_id: str) -> None:
    """Cancel a deployment that goes on, and forget it; devices keep what they run."""
    client = target.client("greengrassv2")
    with tolerating("ResourceNotFoundException"):
        if client.get_deployment(deploymentId=deployment_id)["deploymentStatus"] == "ACTIVE":
            with tolerating("ConflictException"):  # it has ended in the meantime
                client.cancel_deployment(deploymentId=deployment_id)
        client.delete_deployment(deploymentId=deployment_id)


def core_devices(target: Target, group_arn: str) -> list[str]:
    """Things of a group that have ever been core devices."""
    client = target.client("greengrassv2")
    listed = pages(client, "list_core_devices", "coreDevices", thingGroupArn=group_arn)
    return [str(item["coreDeviceThingName"]) for item in listed]


def wait_for_devices(
    target: Target, deployments: Mapping[str, str], *, timeout: float, now: Callable[[], float] = time.monotonic
) -> None:
    """Wait until each core device of some groups has carried out its group's deployment.

    Args:
        target: the environment and its account.
        deployments: ARN of a thing group to the id of its deployment.
        timeout: for all of them, in seconds.
        now: a monotonic clock.

    Raises:
        OperationError: one failed, or did not finish within `timeout` seconds.
    """
    deadline = now() + timeout
    said: dict[str, str] = {}
    while True:
        statuses = {
            thing: _status(target, thing, deployment_id)
            for group_arn, deployment_id in deployments.items()
            for thing in core_devices(target, group_arn)
        }
        for thing, status in statuses.items():
            if said.get(thing) != status:
                target.say(f"  {thing}: {status}")
        said = statuses
        waiting = sorted(thing for thing, status in statuses.items() if status in _UNFINISHED)
        if not waiting:
            break
        if now() > deadline:
            raise OperationError(
                f"{', '.join(waiting)}: did not remove their components within {timeout:g} s; bring them online and "
                "run the same again, or leave them as they are with FORCE=yes"
            )
        time.sleep(min(_POLL_SECONDS, timeout))
    if failed := sorted(f"{thing} ({status})" for thing, status in statuses.items() if status != "SUCCEEDED"):
        raise OperationError(
            f"{', '.join(failed)}: did not remove their components; see their logs, or leave them with FORCE=yes"
        )


def _status(target: Target, thing: str, deployment_id: str) -> str:
    client = target.client("greengrassv2")
    listed = pages(client, "list_effective_deployments", "effectiveDeployments", coreDeviceThingName=thing)
    statuses = [item["coreDeviceExecutionStatus"] for item in listed if item["deploymentId"] == deployment_id]
    return str(statuses[0]) if statuses else "QUEUED"
