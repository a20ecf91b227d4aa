# SPDX-License-Identifier: Apache-2.0
"""A heartbeat as the topic rule hands it on, read and checked; standard library only.

The members are the agent's (`edge_agent/heartbeat.py`), and two that the rule adds: who really sent it, and when.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: What the rule selects of a message, by the agent's names; nothing else of it goes on.
MEMBERS = ("DeviceName", "AgentVersion", "Timestamp", "Part", "Parts", "AgentMetrics", "Models")
#: What the rule adds: the MQTT client's name, and when the message arrived, in milliseconds since 1970 UTC.
CLIENT, RECEIVED = "ClientId", "ReceivedAtMilliseconds"

_THING = re.compile(r"[a-z0-9](-*[a-z0-9]){0,62}")
_METRIC = re.compile(r"[A-Za-z]{1,40}")
_LONGEST_TEXT = 256  # characters
_LARGEST_NUMBER = 1e15
_MOST_METRICS = 64
_MOST_MODELS = 64  # of one message
_MOST_PARTS = 40  # a bit each in a number that DynamoDB and JSON keep exactly


class HeartbeatError(ValueError):
    """A message is no heartbeat of the one who sent it; repeating it would not help."""


@dataclass(frozen=True)
class ModelBeat:
    """One loaded model of a heartbeat; counts are since the model was loaded, `seconds` of them in all."""

    name: str
    version: str
    digest: str
    handle: str
    signed_by: str
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Heartbeat:
    """One message: a heartbeat, or a part of one that needs several.

    Attributes:
        device: the thing.
        timestamp: when the agent made it, by the device's clock, in seconds since 1970 UTC; the same in every part.
        received: when the cloud had it, in seconds since 1970 UTC.
        agent_version: the agent's.
        part: from 1.
        parts: how many there are.
        agent: the agent's metrics by name, in the first part alone.
        models: the loaded models that this part names.
    """

    device: str
    timestamp: float
    received: float
    agent_version: str
    part: int
    parts: int
    agent: Mapping[str, float]
    models: tuple[ModelBeat, ...]

    @classmethod
    def parse(cls, text: str) -> Heartbeat:
        """Read a message.

        Raises:
            HeartbeatError: it is not what an agent writes, or names another device than the one that sent it.
        """
        try:
            message = json.loads(text)
        except ValueError as error:
            raise HeartbeatError(f"a JSON object is expected: {error}") from error
        if not isinstance(message, dict):
            raise HeartbeatError(f"a JSON object is expected, got {text[:80]!r}")
        device = _text(message, "DeviceName")
        # Beside its first connection, named as the thing, a nucleus has others, named `<thing>#<number>`.
        client = _text(message, CLIENT).partition("#")[0]
        if not _THING.fullmatch(device) or device != client:
            raise HeartbeatError(f"DeviceName: {client!r} is expected, as that client sent it, got {device!r}")
        parts = _whole(message.get("Parts", 1), "Parts", _MOST_PARTS)
        return cls(
            device=device,
            timestamp=_number(message.get("Timestamp"), "Timestamp"),
            received=_number(message.get(RECEIVED), RECEIVED) / 1000,
            agent_version=_text(message, "AgentVersion"),
            part=_whole(message.get("Part", 1), "Part", parts),
            parts=parts,
            agent=_metrics(message.get("AgentMetrics"), "AgentMetrics"),
            models=tuple(_model(item) for item in _list(message.get("Models"), "Models", _MOST_MODELS)),
        )


def _model(item: Mapping[str, Any]) -> ModelBeat:
    return ModelBeat(
        name=_text(item, "ModelName"),
        version=_text(item, "ModelVersion"),
        digest=_text(item, "ModelDigest"),
        handle=_text(item, "ModelHandle"),
        signed_by=_text(item, "SignedBy", empty=True),
        metrics=_metrics(item.get("ModelMetrics"), "ModelMetrics"),
    )


def _metrics(value: Any, member: str) -> dict[str, float]:
    found = {}
    for item in _list(value, member, _MOST_METRICS):
        name = _text(item, "MetricName")
        if not _METRIC.fullmatch(name):
            raise HeartbeatError(f"{member}: a metric's name of letters is expected, got {name!r}")
        found[name] = _number(item.get("Value"), name)
    return found


def _list(value: Any, member: str, most: int) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or len(value) > most or not all(isinstance(item, dict) for item in value):
        raise HeartbeatError(f"{member}: a list of at most {most} objects is expected, got {value!r:.80}")
    return value


def _text(holder: Mapping[str, Any], member: str, *, empty: bool = False) -> str:
    value = holder.get(member)
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT or not (value or empty):
        raise HeartbeatError(f"{member}: a text of at most {_LONGEST_TEXT} characters is expected, got {value!r:.80}")
    return value


def _number(value: Any, member: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= _LARGEST_NUMBER:
        raise HeartbeatError(f"{member}: a number from 0 to {_LARGEST_NUMBER:g} is expected, got {value!r:.80}")
    return float(value)


def _whole(value: Any, member: str, most: int) -> int:
    number = _number(value, member)
    if not math.isclose(number, round(number)) or not 1 <= number <= most:
        raise HeartbeatError(f"{member}: a whole number from 1 to {most} is expected, got {value!r:.80}")
    return round(number)
