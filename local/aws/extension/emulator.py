# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: SLF001 - private names of ministack are what this module is for
"""The joint with ministack: only this module and its neighbours ``emulator_*`` touch its private names.

``tests/local/aws/test_extension_contract.py`` holds each of them, so that an upgrade fails there first. ministack calls
request handlers and resource types on its event loop: nothing here may call back to it over HTTP.
"""

import contextlib
import contextvars
import functools
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from ministack import app
from ministack.core import lambda_runtime, responses, router
from ministack.services import cloudformation, iot, s3
from ministack.services.cloudformation import provisioners

from local.aws.extension import emulator_alarms, emulator_functions, emulator_permissions
from local.aws.extension.call_log import CallLog
from local.aws.extension.errors import ApiError
from local.aws.extension.greengrass import Greengrass
from local.aws.extension.iot import role_alias_operations, take_report
from local.aws.extension.resource_types import (
    ResourceType,
    component_version_type,
    deployment_type,
    role_alias_type,
)
from local.aws.extension.rest import RestService, refusal, service_models
from local.aws.extension.role_aliases import RoleAliases

Handler = Callable[..., Any]

_ARN_PARTS = 6
_MQTT_CLIENT_HEADER = "x-local-mqtt-client"
_mqtt_client: contextvars.ContextVar[str | None] = contextvars.ContextVar("mqtt_client", default=None)
_MODELS = service_models("greengrassv2", "iot")


class EmulatedWorld:
    """Greengrass's :class:`~local.aws.extension.world.World`: ministack's own stores, of one account and region."""

    def __init__(self, account: str, region: str) -> None:
        self.account = account
        self.region = region

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def read_object(self, bucket: str, key: str) -> bytes | None:
        """The bytes of an object, from the S3 store itself."""
        with self._scope():
            content = s3._get_object_data(bucket, key)
        return None if content is None else bytes(content)

    def things_of(self, target_arn: str) -> Sequence[str] | None:
        """The thing of a thing's ARN, or the members of a group's."""
        parts = target_arn.split(":", _ARN_PARTS - 1)
        if parts[:-1] != ["arn", "aws", "iot", self.region, self.account]:
            return None
        kind, _, name = parts[-1].partition("/")
        with self._scope():
            if kind == "thing":
                return [name] if name in iot._things else None
            if kind == "thinggroup" and name in iot._thing_groups:
                return list(iot._thing_groups[name].get("things", ()))
        return None

    def targets_of(self, thing: str) -> Sequence[str] | None:
        """ARN of the thing and of its groups."""
        with self._scope():
            record = iot._things.get(thing)
            if record is None:
                return None
            groups = [
                iot._thing_groups[name] for name in record.get("thingGroupNames", ()) if name in iot._thing_groups
            ]
            return [record["thingArn"], *(group["thingGroupArn"] for group in groups)]

    def _scope(self) -> contextlib.AbstractContextManager[None]:
        scope: contextlib.AbstractContextManager[None] = responses.request_scope(self.account, self.region)
        return scope


class Scope:
    """The services of this extension in one account and region."""

    def __init__(self, account: str, region: str) -> None:
        world = EmulatedWorld(account, region)
        self.greengrass = Greengrass(world)
        self.role_aliases = RoleAliases(world)
        self.greengrass_api = RestService(_MODELS["greengrassv2"], self.greengrass.operations())
        self.role_alias_api = RestService(_MODELS["iot"], role_alias_operations(self.role_aliases))


@functools.cache
def _scope_of(account: str, region: str) -> Scope:
    return Scope(account, region)


def _current() -> Scope:
    """The services of the request at work."""
    return _scope_of(responses.get_account_id(), responses.get_region())


def install(log: CallLog) -> None:
    """Adds the missing types and APIs to ministack, and AWS's own runtime for Python functions.

    The IAM policies of every caller but the root are enforced, and every call goes into ``log``.
    """
    _add_type("AWS::IoT::RoleAlias", role_alias_type(lambda: _current().role_aliases))
    _add_type("AWS::GreengrassV2::ComponentVersion", component_version_type(lambda: _current().greengrass))
    model = _MODELS["greengrassv2"].operation_model("CreateDeployment").input_shape
    _add_type("AWS::GreengrassV2::Deployment", deployment_type(lambda: _current().greengrass, model))
    app.SERVICE_HANDLERS["greengrass"] = _greengrass
    # Without it, the first request loads all of botocore's models to see whether there is such a service: seconds.
    router.SERVICE_PATTERNS["greengrass"] = {"credential_scope": "greengrass"}
    app.SERVICE_HANDLERS["iot"] = _with_role_aliases(app.SERVICE_HANDLERS["iot"])
    app.SERVICE_HANDLERS["iot-data"] = _with_reports(app.SERVICE_HANDLERS["iot-data"])
    _let_stacks_take_back_buckets()
    emulator_alarms.install()
    emulator_functions.install()
    emulator_permissions.install(log)


def serve() -> None:
    """Serves until SIGTERM, then ends the functions' processes."""
    sys.argv[1:] = []  # ministack reads its own options from there
    try:
        app.main()
    finally:
        lambda_runtime.reset()


def _add_type(name: str, resource: ResourceType) -> None:
    def create(logical_id: str, properties: dict[str, Any], stack_name: str) -> Any:
        return resource.create(logical_id, properties, stack_name)

    def delete(physical_id: str, _properties: dict[str, Any]) -> None:
        resource.delete(physical_id)

    handlers: dict[str, Any] = {"create": create, "delete": delete}
    if (in_place := resource.update) is not None:

        def update(physical_id: str, _old: dict[str, Any], new: dict[str, Any], _stack_name: str) -> Any:
            return in_place(physical_id, new)

        handlers["update"] = update
    provisioners._RESOURCE_HANDLERS[name] = handlers
    provisioners._REPLACING_PROPERTIES[name] = resource.replacing


def _let_stacks_take_back_buckets() -> None:
    """A bucket that a change set imports is in nobody's way; ministack finds it, but then its name is taken to it."""
    conflict = provisioners.s3_bucket_name_conflict

    def unless_imported(name: str) -> Any:
        change_sets = cloudformation._change_sets.values()
        imported = (identifier for found in change_sets for identifier in found.get("_import_existing", {}).values())
        return None if any(identifier.get("BucketName") == name for identifier in imported) else conflict(name)

    provisioners.s3_bucket_name_conflict = unless_imported


async def _greengrass(method: str, path: str, _headers: Any, body: bytes, query: dict[str, Any]) -> Any:
    return _current().greengrass_api.handle(method, path, query, body)


def _with_role_aliases(inner: Handler) -> Handler:
    async def handler(method: str, path: str, headers: Any, body: bytes, query: dict[str, Any]) -> Any:
        if path.startswith("/role-aliases"):
            return _current().role_alias_api.handle(method, path, query, body)
        return await inner(method, path, headers, body, query)

    return handler


def _with_reports(inner: Handler) -> Handler:
    """Device messages over HTTPS: like AWS, ministack takes job updates over MQTT only, and no broker is open here.

    A header names the MQTT client that a message stands for, which topic rules ask for.
    """
    publish = iot.broker_publish

    async def publish_as_client(*arguments: Any, client_id: str | None = None, **options: Any) -> None:
        await publish(*arguments, client_id=client_id or _mqtt_client.get(), **options)

    iot.broker_publish = publish_as_client

    async def handler(method: str, path: str, headers: Any, body: bytes, query: dict[str, Any]) -> Any:
        _mqtt_client.set(headers.get(_MQTT_CLIENT_HEADER))
        if method == "POST" and path.startswith("/topics/"):
            try:
                if take_report(_current().greengrass, path.removeprefix("/topics/"), body):
                    return 200, {"Content-Type": "application/json"}, b""
            except ApiError as error:
                return refusal(error)
        return await inner(method, path, headers, body, query)

    return handler
