# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import collections
import logging
from typing import TYPE_CHECKING, Any

from local.core_device.authorization import device_may
from local.core_device.cloud import CloudRefusedError, CloudUnreachableError
from local.core_device.log import event

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.core_device.cloud import Cloud

# The default of the nucleus's spooler.
_MAX_SPOOLED_BYTES = 2_621_440
_MAX_WAIT_SECONDS = 30.0


class SpoolFullError(Exception):
    """The messages that wait for the network fill the spool."""


class IotCore:
    """Messages to AWS IoT Core: checked against the device's policy, kept in order while the cloud is unreachable."""

    def __init__(self, cloud: Cloud, *, policy_name: str, retry_seconds: float) -> None:
        self._cloud = cloud
        self._policy_name = policy_name
        self._retry_seconds = retry_seconds
        self._policy: Mapping[str, Any] = {}
        self._spool: collections.deque[tuple[str, bytes, int]] = collections.deque()
        self._bytes = 0
        self._filled = asyncio.Event()

    def publish(self, topic: str, payload: bytes, *, qos: int) -> None:
        """Hand a message over for sending; it is sent when the cloud can be reached.

        Raises:
            SpoolFullError: too much is waiting already.
        """
        if self._bytes + len(payload) > _MAX_SPOOLED_BYTES:
            raise SpoolFullError(
                f"{self._bytes} bytes wait for AWS IoT Core, at most {_MAX_SPOOLED_BYTES} may; {topic} is not taken"
            )
        self._spool.append((topic, payload, qos))
        self._bytes += len(payload)
        self._filled.set()

    async def send_forever(self) -> None:
        """Send what is spooled, until cancelled."""
        delay = self._retry_seconds
        while True:
            await self._filled.wait()
            topic, payload, qos = self._spool[0]
            try:
                await asyncio.to_thread(self.send, topic, payload, qos=qos)
            except CloudUnreachableError as error:
                event("iot_core_unreachable", level=logging.WARNING, waiting=len(self._spool), reason=str(error))
                await asyncio.sleep(delay)
                delay = min(2 * delay, _MAX_WAIT_SECONDS)
                continue
            except CloudRefusedError as error:
                event("iot_core_message_refused", level=logging.ERROR, topic=topic, reason=str(error))
            delay = self._retry_seconds
            self._spool.popleft()
            self._bytes -= len(payload)
            if not self._spool:
                self._filled.clear()

    def send(self, topic: str, payload: bytes, *, qos: int) -> None:
        """Send a message at once.

        Raises:
            CloudUnreachableError: it was not sent.
            CloudRefusedError: the device's AWS IoT policy, as it is now, does not allow the topic.
        """
        if not policy_allows_topic(self._policy, "iot:Publish", topic):
            self._policy = self._cloud.policy_document(self._policy_name)
        if not policy_allows_topic(self._policy, "iot:Publish", topic):
            raise CloudRefusedError(
                f"the AWS IoT policy {self._policy_name} does not allow iot:Publish on topic/{topic}; "
                "a real broker would end the connection"
            )
        self._cloud.publish(topic, payload, qos=qos)


def policy_allows_topic(document: Mapping[str, Any], action: str, topic: str) -> bool:
    """Tell whether an AWS IoT policy allows an action on a topic, in the account and region that its ARNs name."""
    statements = document.get("Statement", [])
    arns = [arn for statement in statements for arn in _strings(statement.get("Resource", []))]
    places = {":".join(arn.split(":")[:5]) for arn in arns if arn.startswith("arn:")} or {"arn:aws:iot::"}
    return any(device_may(document, action=action, resource=f"{place}:topic/{topic}") for place in sorted(places))


def _strings(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
