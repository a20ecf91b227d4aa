# SPDX-License-Identifier: Apache-2.0
"""Devices as AWS IoT Greengrass knows them."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from operations.errors import code_of
from operations.greengrass import pages
from operations.judgement import Execution, Observed
from operations.target import Target


def observe(target: Target, thing: str, deployment_id: str) -> Observed:
    """What the cloud knows of a device, as far as it matters: its components once it has the deployment."""
    client = target.client("greengrassv2")
    try:
        status = str(client.get_core_device(coreDeviceThingName=thing)["status"])
    except ClientError as error:
        if code_of(error) != "ResourceNotFoundException":
            raise
        return Observed(thing)
    execution = execution_of(client, thing, deployment_id)
    if execution is None or execution.status != "SUCCEEDED":
        return Observed(thing, execution, status)
    listed = pages(
        client, "list_installed_components", "installedComponents", coreDeviceThingName=thing, topologyFilter="ALL"
    )
    components = {
        item["componentName"]: (str(item["componentVersion"]), str(item["lifecycleState"])) for item in listed
    }
    return Observed(thing, execution, status, components)


def execution_of(client: Any, thing: str, deployment_id: str) -> Execution | None:
    """What a core device did with a deployment; None when the deployment does not concern it, any more or yet."""
    listed = pages(client, "list_effective_deployments", "effectiveDeployments", coreDeviceThingName=thing)
    for item in listed:
        if item["deploymentId"] == deployment_id:
            reasons = [str(item.get("reason", "")), *item.get("statusDetails", {}).get("errorStack", [])]
            return Execution(
                status=str(item["coreDeviceExecutionStatus"]),
                reason=", ".join(dict.fromkeys(filter(None, reasons))),
                modified=item["modifiedTimestamp"].timestamp(),
            )
    return None
