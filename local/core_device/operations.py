# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import binascii
import secrets
from typing import TYPE_CHECKING, Any

from local.core_device.authorization import component_may, topic_matches
from local.core_device.configuration import lookup, merged
from local.core_device.iot_core import SpoolFullError
from local.core_device.ipc_server import IpcError, Stream
from local.core_device.log import event

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from local.core_device.configuration import ConfigurationStore
    from local.core_device.iot_core import IotCore
    from local.core_device.updates import ComponentUpdates

_PUBSUB = "aws.greengrass.ipc.pubsub"
_MQTT = "aws.greengrass.ipc.mqttproxy"
_STATES = frozenset({"RUNNING", "ERRORED"})


class GreengrassService:
    """The IPC operations that both nuclei have; any other is a ServiceError, as on nucleus lite.

    With `updates` also those by which the classic nucleus asks components before an update.
    """

    def __init__(
        self, configuration: ConfigurationStore, iot_core: IotCore, *, updates: ComponentUpdates | None = None
    ) -> None:
        self._configuration = configuration
        self._iot_core = iot_core
        self._tokens: dict[str, str] = {}
        self._watchers: list[tuple[str, Sequence[str], Stream]] = []
        self._local: list[tuple[str, Stream]] = []
        self._remote: list[tuple[str, Stream]] = []
        self._operations: dict[str, Callable[[Mapping[str, Any], Stream], Mapping[str, Any]]] = {
            "GetConfiguration": self._get_configuration,
            "UpdateConfiguration": self._update_configuration,
            "SubscribeToConfigurationUpdate": self._subscribe_to_configuration_update,
            "PublishToTopic": self._publish_to_topic,
            "SubscribeToTopic": self._subscribe_to_topic,
            "PublishToIoTCore": self._publish_to_iot_core,
            "SubscribeToIoTCore": self._subscribe_to_iot_core,
            "UpdateState": self._update_state,
        }
        if updates is not None:
            self._operations["SubscribeToComponentUpdates"] = updates.subscribe
            self._operations["DeferComponentUpdate"] = updates.defer

    def issue_token(self, component: str) -> str:
        """Make the SVCUID of a new process; the former one of the component is void from now on."""
        self._tokens = {token: name for token, name in self._tokens.items() if name != component}
        token = secrets.token_urlsafe(16)
        self._tokens[token] = component
        return token

    def component_of(self, token: str) -> str | None:
        """Tell whose token this is."""
        return self._tokens.get(token)

    async def call(self, operation: str, request: Mapping[str, Any], stream: Stream) -> tuple[Mapping[str, Any], bool]:
        """Answer a request; see :class:`local.core_device.ipc_server.Service`."""
        implementation = self._operations.get(operation)
        if implementation is None:
            known = ", ".join(sorted(self._operations))
            raise IpcError(
                "ServiceError", f"operation {operation!r} is not available on every nucleus; there are {known}"
            )
        response = implementation(request, stream)
        return response, operation.startswith("Subscribe")

    def is_watched(self, component: str) -> bool:
        """Tell whether a component follows the updates of its own configuration."""
        return any(name == component == stream.component for name, _, stream in self._watchers)

    def configuration_changed(self, component: str, key_path: Sequence[str]) -> None:
        """Tell those who follow this part of the configuration, or one above or below it."""
        update = {"configurationUpdateEvent": {"componentName": component, "keyPath": list(key_path)}}
        for name, watched, stream in tuple(self._watchers):
            common = min(len(watched), len(key_path))
            if name == component and list(watched[:common]) == list(key_path[:common]):
                stream.send("ConfigurationUpdateEvents", update)

    def deliver(self, topic: str, payload: bytes) -> None:
        """Hand a message of AWS IoT Core to the components that subscribed to it."""
        message = {"message": {"topicName": topic, "payload": base64.b64encode(payload).decode()}}
        for topic_filter, stream in tuple(self._remote):
            if topic_matches(topic_filter, topic):
                stream.send("IoTCoreMessage", message)

    def _get_configuration(self, request: Mapping[str, Any], stream: Stream) -> Mapping[str, Any]:
        component = request.get("componentName") or stream.component
        key_path = _key_path(request)
        configuration = self._configuration.get(component)
        if configuration is None:
            raise IpcError("ResourceNotFoundError", f"there is no component {component} with a configuration")
        try:
            value = lookup(configuration, key_path)
        except LookupError as error:
            raise IpcError("ResourceNotFoundError", f"component {component}: {error}") from None
        if not isinstance(value, dict):
            value = {key_path[-1]: value}
        return {"componentName": component, "value": value}

    def _update_configuration(self, request: Mapping[str, Any], stream: Stream) -> Mapping[str, Any]:
        key_path = _key_path(request)
        value = request.get("valueToMerge")
        if not isinstance(value, dict):
            raise IpcError("InvalidArgumentsError", f"valueToMerge: expected an object, found {type(value).__name__}")
        for key in reversed(key_path):
            value = {key: value}
        before = self._configuration.get(stream.component) or {}
        after = merged(before, value)
        if after != before:
            self._configuration.set(stream.component, after)
            self.configuration_changed(stream.component, key_path)
        return {}

    def _subscribe_to_configuration_update(self, request: Mapping[str, Any], stream: Stream) -> Mapping[str, Any]:
        component = request.get("componentName") or stream.component
        if self._configuration.get(component) is None:
            raise IpcError("ResourceNotFoundError", f"there is no component {component}")
        _register(self._watchers, (component, _key_path(request), stream), stream)
        return {}

    def _publish_to_topic(self, request: Mapping[str, Any], stream: Stream) -> Mapping[str, Any]:
        topic = _text(request, "topic")
        self._authorize(stream, _PUBSUB, "PublishToTopic", topic)
        content = request.get("publishMessage")
        kinds = ("jsonMessage", "binaryMessage")
        if not isinstance(content, dict) or sum(content.get(kind) is not None for kind in kinds) != 1:
            raise IpcError("InvalidArgumentsError", f"publishMessage: expected one of {', '.join(kinds)}")
        kind = next(kind for kind in kinds if content.get(kind) is not None)
        message = {kind: {"message": content[kind].get("message"), "context": {"topic": topic}}}
        for topic_filter, subscriber in tuple(self._local):
            if topic_matches(topic_filter, topic):
                subscriber.send("SubscriptionResponseMessage", message)
        return {}

    def _subscribe_to_topic(self, request: Mapping[str, Any], stream: Stream) -> Mapping[str, Any]:
        topic = _text(request, "topic")
        self._authorize(stream, _PUBSUB, "SubscribeToTopic", topic)
        _register(self._local, (topic, stream), stream)
        return {"topicName": topic}

    def _publish_to_iot_core(self, request: Mapping[str, Any], stream: Stream) -> Mapping[str, Any]:
        topic = _text(request, "topicName")
        self._authorize(stream, _MQTT, "PublishToIoTCore", topic)
        try:
            payload = base64.b64decode(request.get("payload") or "", validate=True)
        except (binascii.Error, TypeError) as error:
            raise IpcError("InvalidArgumentsError", f"payload: expected base64: {error}") from None
        try:
            self._iot_core.publish(topic, payload, qos=_qos(request))
        except SpoolFullError as error:
            raise IpcError("ServiceError", str(error)) from None
        self.deliver(topic, payload)
        return {}

    def _subscribe_to_iot_core(self, request: Mapping[str, Any], stream: Stream) -> Mapping[str, Any]:
        topic = _text(request, "topicName")
        self._authorize(stream, _MQTT, "SubscribeToIoTCore", topic)
        _qos(request)
        _register(self._remote, (topic, stream), stream)
        return {}

    @staticmethod
    def _update_state(request: Mapping[str, Any], stream: Stream) -> Mapping[str, Any]:
        state = _text(request, "state")
        if state not in _STATES:
            raise IpcError(
                "InvalidArgumentsError", f"state: expected one of {', '.join(sorted(_STATES))}, found {state!r}"
            )
        event("component_reported_state", component=stream.component, state=state)
        return {}

    def _authorize(self, stream: Stream, service: str, operation: str, resource: str) -> None:
        configuration = self._configuration.get(stream.component) or {}
        if not component_may(
            configuration, service=service, operation=operation, resource=resource, mqtt=service == _MQTT
        ):
            raise IpcError(
                "UnauthorizedError",
                f"component {stream.component} may not call aws.greengrass#{operation} on {resource!r}: "
                f"add it to accessControl/{service} of its configuration",
            )


def _register(registry: list[Any], entry: tuple[Any, ...], stream: Stream) -> None:
    registry.append(entry)
    stream.on_close(lambda: registry.remove(entry))


def _text(request: Mapping[str, Any], key: str) -> str:
    value = request.get(key)
    if not isinstance(value, str) or not value:
        raise IpcError("InvalidArgumentsError", f"{key}: expected a string that is not empty, found {value!r}")
    return value


def _key_path(request: Mapping[str, Any]) -> list[str]:
    value = request.get("keyPath") or []
    if not isinstance(value, list) or not all(isinstance(key, str) for key in value):
        raise IpcError("InvalidArgumentsError", f"keyPath: expected a list of strings, found {value!r}")
    return value


def _qos(request: Mapping[str, Any]) -> int:
    value = str(request.get("qos", "0"))
    if value not in {"0", "1"}:
        raise IpcError("InvalidArgumentsError", f"qos: expected 0 or 1, found {value!r}")
    return int(value)
