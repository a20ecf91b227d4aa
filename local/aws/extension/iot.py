# SPDX-License-Identifier: Apache-2.0
"""The part of AWS IoT that the emulator lacks: role aliases, and the reserved topics by which devices report."""

import json
import re
from collections.abc import Mapping
from typing import Any

from local.aws.extension.errors import ApiError
from local.aws.extension.greengrass import Greengrass
from local.aws.extension.rest import Operation, Parameters
from local.aws.extension.role_aliases import RoleAlias, RoleAliases

_JOB_UPDATE = re.compile(r"\$aws/things/([^/]+)/jobs/([^/]+)/update")
_FLEET_STATUS = re.compile(r"\$aws/things/([^/]+)/greengrassv2/health/json")


def role_alias_operations(aliases: RoleAliases) -> Mapping[str, Operation]:
    """The role alias operations of the ``iot`` service by name."""

    def create(request: Parameters) -> Mapping[str, Any]:
        seconds = request.get("credentialDurationSeconds")
        options = {} if seconds is None else {"seconds": seconds}
        return _named(aliases.create(request["roleAlias"], role_arn=request["roleArn"], **options))

    def describe(request: Parameters) -> Mapping[str, Any]:
        alias = aliases.get(request["roleAlias"])
        description = {
            **_named(alias),
            "roleArn": alias.role_arn,
            "owner": alias.owner,
            "credentialDurationSeconds": alias.seconds,
            "creationDate": alias.created,
            "lastModifiedDate": alias.modified,
        }
        return {"roleAliasDescription": description}

    def update(request: Parameters) -> Mapping[str, Any]:
        seconds = request.get("credentialDurationSeconds")
        return _named(aliases.update(request["roleAlias"], role_arn=request.get("roleArn"), seconds=seconds))

    def delete(request: Parameters) -> Mapping[str, Any]:
        aliases.delete(request["roleAlias"])
        return {}

    return {
        "CreateRoleAlias": create,
        "DescribeRoleAlias": describe,
        "UpdateRoleAlias": update,
        "DeleteRoleAlias": delete,
        "ListRoleAliases": lambda _: {"roleAliases": list(aliases.names())},
    }


def take_report(greengrass: Greengrass, topic: str, payload: bytes) -> bool:
    """Takes a device's message when it is for Greengrass.

    Returns:
        Whether the message ends here. Fleet status goes on to the broker, where topic rules see it. Job updates end
        here: they are the jobs service's own input, and jobs of others are not Greengrass's to answer.

    Raises:
        ApiError: The message is for Greengrass and cannot be taken.
    """
    if update := _JOB_UPDATE.fullmatch(topic):
        thing, job_id = update.groups()
        if greengrass.deployments.of_job(job_id) is None:
            return False
        greengrass.deployments.report(thing=thing, job_id=job_id, update=_document(topic, payload))
        return True
    if status := _FLEET_STATUS.fullmatch(topic):
        greengrass.devices.report(thing=status[1], message=_document(topic, payload))
    return False


def _document(topic: str, payload: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(payload)
    except ValueError as error:
        raise ApiError("InvalidRequestException", f"the message on {topic} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ApiError("InvalidRequestException", f"the message on {topic} is not a JSON object")
    return document


def _named(alias: RoleAlias) -> dict[str, Any]:
    return {"roleAlias": alias.name, "roleAliasArn": alias.arn}
