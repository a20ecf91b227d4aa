# SPDX-License-Identifier: Apache-2.0
"""What the agent asks of the Greengrass nucleus, over IPC."""

from __future__ import annotations

import concurrent.futures
import logging
import threading
from typing import Any, Callable

import awsiot.greengrasscoreipc
from awsiot.eventstreamrpc import LifecycleHandler
from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2
from awsiot.greengrasscoreipc.model import QOS

_LOG = logging.getLogger(__name__)
_TIMEOUT_SECONDS = 30.0
_PUBLISH_SECONDS = 10.0


class NucleusError(OSError):
    """The nucleus refused, did not answer in time, or is not there."""


class Nucleus:
    """Greengrass IPC by AWS's client; connects at the first need, and again after the connection was lost.

    Args:
        on_change: Called, in any thread, whenever the component's configuration may have changed.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._lock = threading.Lock()
        self._client: Any = None
        self._watching = False
        self._watched_by: Any = None  # the client that was asked to tell
        self._lost = threading.Event()

    def get_configuration(self) -> dict[str, object]:
        """Read the component's whole configuration.

        Raises:
            NucleusError: The nucleus did not answer in time, or has no configuration for this component.
        """
        answer = self._ask("get_configuration_async", _TIMEOUT_SECONDS, key_path=[])
        return dict(answer.value or {})

    def watch(self) -> None:
        """Have ``on_change`` called from now on; a nucleus that does not tell is logged, no more."""
        self._watching = True
        try:
            self._connect()
            self._subscribe()
        except NucleusError as error:
            _LOG.warning("configuration_not_watched", extra={"fields": {"error": str(error)}})

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish to IoT Core with QoS 1.

        Raises:
            NucleusError: It was not taken.
        """
        arguments = {"topic_name": topic, "qos": QOS.AT_LEAST_ONCE, "payload": payload}
        self._ask("publish_to_iot_core_async", _PUBLISH_SECONDS, **arguments)

    def close(self) -> None:
        """End the connection."""
        client, self._client = self._client, None
        if client is not None:
            client.close(executor_wait=False)

    def _subscribe(self) -> None:
        self._watched_by = self._client
        self._ask(
            "subscribe_to_configuration_update_async",
            _TIMEOUT_SECONDS,
            key_path=[],
            on_stream_event=lambda _: self._on_change(),
            on_stream_error=lambda _: False,
            on_stream_closed=lambda: None,
        )

    def _ask(self, method: str, seconds: float, **arguments: object) -> Any:
        self._connect()
        try:
            asked = getattr(self._client, method)(**arguments)
            answer = (asked[0] if isinstance(asked, tuple) else asked).result(timeout=seconds)
        except concurrent.futures.TimeoutError:
            raise NucleusError(f"{method}: the nucleus did not answer within {seconds:g} s") from None
        except Exception as error:  # its errors, generated ones and the C runtime's, have no base of their own
            raise NucleusError(f"{method}: {_said(error)}") from error
        if self._watching and self._watched_by is not self._client:
            _LOG.info("nucleus_connected_again")
            self._subscribe()
            self._on_change()  # what changed in between was told to nobody
        return answer

    def _connect(self) -> None:
        with self._lock:
            if self._client is not None and not self._lost.is_set():
                return
            self.close()
            lost = threading.Event()
            try:
                connection = awsiot.greengrasscoreipc.connect(
                    lifecycle_handler=_Lifecycle(lost), timeout=_PUBLISH_SECONDS
                )
            except Exception as error:
                raise NucleusError(f"connect: {_said(error)}") from error
            # Without an executor callbacks run in the client's own thread: ours only put a word into a queue.
            self._client = GreengrassCoreIPCClientV2(client=connection, executor=None)
            self._lost = lost


class _Lifecycle(LifecycleHandler):  # type: ignore[misc] # published without types
    def __init__(self, lost: threading.Event) -> None:
        super().__init__()
        self._lost = lost

    def on_disconnect(self, reason: Exception | None) -> None:
        self._lost.set()
        if reason is not None:
            _LOG.warning("nucleus_disconnected", extra={"fields": {"error": _said(reason)}})

    def on_error(self, error: Exception) -> bool:
        _LOG.warning("nucleus_error", extra={"fields": {"error": _said(error)}})
        return True


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {getattr(error, 'message', None) or error}"
