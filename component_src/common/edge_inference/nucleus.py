# SPDX-License-Identifier: Apache-2.0
"""What the component asks of the Greengrass nucleus, and the real one behind it."""

from __future__ import annotations

import concurrent.futures
import math
import os
import threading
from collections.abc import Mapping
from typing import Any, Callable, Protocol

import awsiot.greengrasscoreipc
from awsiot.eventstreamrpc import LifecycleHandler
from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2
from awsiot.greengrasscoreipc.model import QOS, ResourceNotFoundError

from edge_inference import log

_TIMEOUT_SECONDS = 10.0
_SOCKET_VARIABLE = "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"
_TOKEN_VARIABLE = "SVCUID"  # noqa: S105 # the name of the variable


class NucleusError(Exception):
    """The nucleus refused, did not answer in time, or is not there."""


class Nucleus(Protocol):
    """The part of Greengrass IPC that the component uses."""

    def get_configuration(self, component: str | None) -> Mapping[str, object]:
        """Read the configuration of a component, or of oneself; empty when there is no such component.

        Raises:
            NucleusError: it cannot be read.
        """

    def watch_configuration(self, component: str | None, on_change: Callable[[], None]) -> None:
        """Have `on_change` called, in any thread, whenever the configuration of a component may have changed.

        Raises:
            NucleusError: the nucleus does not tell.
        """

    def watch_updates(self, on_ask: Callable[[str], None], on_end: Callable[[], None]) -> None:
        """Have the nucleus ask before it updates components of this device, whichever.

        Args:
            on_ask: called with the deployment's id, in any thread; it must return at once. `answer_update` answers.
            on_end: called when the update is over, or its question void.

        Raises:
            NucleusError: the nucleus does not ask; nucleus lite has no such operation.
        """

    def answer_update(self, deployment_id: str, recheck_seconds: float) -> None:
        """Answer the last question: 0 to go on, else the seconds after which to ask again.

        Raises:
            NucleusError: it was not taken; the nucleus waits for an answer for the time that the deployment sets.
        """

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish to IoT Core with QoS 1.

        Raises:
            NucleusError: it was not taken.
        """

    def close(self) -> None:
        """End the connection."""


class GreengrassNucleus:
    """Greengrass IPC by AWS's client; connects again after the nucleus closed the connection.

    Raises:
        NucleusError: there is no nucleus around this process, or it does not answer.
    """

    def __init__(self) -> None:
        missing = [name for name in (_SOCKET_VARIABLE, _TOKEN_VARIABLE) if not os.environ.get(name)]
        if missing:
            raise NucleusError(
                f"expected to be started by a Greengrass nucleus, which sets {_SOCKET_VARIABLE} and {_TOKEN_VARIABLE}; "
                f"missing: {', '.join(missing)}"
            )
        self._watched: dict[str | None, Callable[[], None]] = {}
        self._on_update: tuple[Callable[[str], None], Callable[[], None]] | None = None
        self._client: Any = None
        self._disconnected = threading.Event()
        self._lock = threading.RLock()  # of the connection: updates are answered in a thread of their own
        self._connect()

    def get_configuration(self, component: str | None) -> Mapping[str, object]:
        """See `Nucleus`."""
        try:
            answer = self._ask("GetConfiguration", "get_configuration_async", component_name=component, key_path=[])
        except NucleusError as error:
            if isinstance(error.__cause__, ResourceNotFoundError):
                return {}
            raise
        return dict(answer.value or {})

    def watch_configuration(self, component: str | None, on_change: Callable[[], None]) -> None:
        """See `Nucleus`."""
        self._watch(component, on_change)
        self._watched[component] = on_change

    def _watch(self, component: str | None, on_change: Callable[[], None]) -> None:
        self._ask(
            "SubscribeToConfigurationUpdate",
            "subscribe_to_configuration_update_async",
            component_name=component,
            key_path=[],
            on_stream_event=lambda _: on_change(),
            on_stream_error=_log_stream_error,
        )

    def watch_updates(self, on_ask: Callable[[str], None], on_end: Callable[[], None]) -> None:
        """See `Nucleus`."""
        self._subscribe_to_updates(on_ask, on_end)
        self._on_update = on_ask, on_end

    def _subscribe_to_updates(self, on_ask: Callable[[str], None], on_end: Callable[[], None]) -> None:
        def on_event(event: Any) -> None:
            if event.pre_update_event is not None:
                on_ask(event.pre_update_event.deployment_id)
            elif event.post_update_event is not None:
                on_end()

        self._ask(
            "SubscribeToComponentUpdates",
            "subscribe_to_component_updates_async",
            on_stream_event=on_event,
            on_stream_error=_log_stream_error,
        )

    def answer_update(self, deployment_id: str, recheck_seconds: float) -> None:
        """See `Nucleus`."""
        self._ask(
            "DeferComponentUpdate",
            "defer_component_update_async",
            deployment_id=deployment_id,
            recheck_after_ms=math.ceil(1000 * recheck_seconds),
        )

    def publish(self, topic: str, payload: bytes) -> None:
        """See `Nucleus`."""
        self._ask(
            "PublishToIoTCore", "publish_to_iot_core_async", topic_name=topic, qos=QOS.AT_LEAST_ONCE, payload=payload
        )

    def close(self) -> None:
        """See `Nucleus`."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _connect(self) -> None:
        self.close()
        disconnected = threading.Event()
        try:
            connection = awsiot.greengrasscoreipc.connect(
                lifecycle_handler=_Lifecycle(disconnected), timeout=_TIMEOUT_SECONDS
            )
        except (concurrent.futures.TimeoutError, RuntimeError, OSError) as error:
            raise NucleusError(f"connect: {_said(error)}") from error
        # Without an executor callbacks run in the client's own thread: ours only set a flag.
        self._client = GreengrassCoreIPCClientV2(client=connection, executor=None)
        self._disconnected = disconnected

    def _connect_again(self) -> None:
        self._connect()
        log.info("nucleus_connected_again")
        for component, on_change in self._watched.items():
            self._watch(component, on_change)
            on_change()  # what changed in between was told to nobody
        if self._on_update is not None:
            self._subscribe_to_updates(*self._on_update)
            self._on_update[1]()

    def _ask(self, operation: str, method: str, **arguments: object) -> Any:
        with self._lock:
            if self._client is None or self._disconnected.is_set():
                self._connect_again()
            client = self._client
        try:
            asked = getattr(client, method)(**arguments)
            future = asked[0] if isinstance(asked, tuple) else asked
            return future.result(timeout=_TIMEOUT_SECONDS)
        except concurrent.futures.TimeoutError as error:
            raise NucleusError(f"{operation}: no answer within {_TIMEOUT_SECONDS:g} s") from error
        # The client raises its errors, AWS's generated ones and the C runtime's, without a base of their own.
        except Exception as error:
            raise NucleusError(f"{operation}: {_said(error)}") from error


class _Lifecycle(LifecycleHandler):  # type: ignore[misc] # published without types
    def __init__(self, disconnected: threading.Event) -> None:
        super().__init__()
        self._disconnected = disconnected

    def on_disconnect(self, reason: Exception | None) -> None:
        self._disconnected.set()
        if reason is not None:
            log.warning("nucleus_disconnected", error=_said(reason))

    def on_error(self, error: Exception) -> bool:
        log.warning("nucleus_error", error=_said(error))
        return True


def _log_stream_error(error: Exception) -> bool:
    log.warning("nucleus_stream_error", error=_said(error))
    return False


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {getattr(error, 'message', None) or error}"
