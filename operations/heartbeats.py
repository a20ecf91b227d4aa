# SPDX-License-Identifier: Apache-2.0
"""Devices' heartbeats, as the table holds the last one of each, and what they say over a while."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from operations.target import Target

_BATCH = 100  # keys of BatchGetItem


@dataclass(frozen=True)
class Counters:
    """What was counted for a model since it was loaded; `seconds` are those of `predictions`, in all."""

    predictions: float = 0
    failed: float = 0
    seconds: float = 0

    @property
    def requests(self) -> float:
        """Predictions asked for."""
        return self.predictions + self.failed

    def __add__(self, other: Counters) -> Counters:
        return Counters(self.predictions + other.predictions, self.failed + other.failed, self.seconds + other.seconds)

    def since(self, former: Counters) -> Counters:
        """What was added since; a counter that fell was begun anew, and all of it is new."""
        if self.predictions < former.predictions or self.failed < former.failed or self.seconds < former.seconds:
            return self
        return Counters(
            self.predictions - former.predictions, self.failed - former.failed, self.seconds - former.seconds
        )


@dataclass(frozen=True)
class Model:
    """A loaded model."""

    digest: str
    counters: Counters


@dataclass(frozen=True)
class Heartbeat:
    """One heartbeat: seconds since 1970 UTC at which the cloud received it and at which the device sent it."""

    received: float
    sent: float
    models: Mapping[str, Model]


@dataclass
class Window:
    """What a device's heartbeats say of the time in which it was looked at.

    Counters are those since each model was loaded, so what is judged is their growth: from the last heartbeat before
    the deployment, or from nothing where a device had sent none, or runs the model anew.
    """

    last: Heartbeat | None = None
    beats: int = 0
    _grown: dict[str, Counters] = field(default_factory=dict)
    _begun: bool = False

    def add(self, heartbeat: Heartbeat, *, deployed: float | None) -> None:
        """Take what the table holds, the same heartbeat as often as one likes.

        `deployed` is when the device carried the deployment out, None as long as it has not.
        """
        former, self.last = self.last, heartbeat
        if deployed is None:
            return
        begins, self._begun = not self._begun, True
        if former is None or heartbeat.sent != former.sent:
            known = {} if former is None else former.models
            for name, model in heartbeat.models.items():
                before = known.get(name)
                same = before is not None and before.digest == model.digest
                grown = model.counters.since(before.counters) if before is not None and same else model.counters
                self._grown[name] = self._grown.get(name, Counters()) + grown
        elif not begins:
            return  # seen and counted
        self.beats += heartbeat.received > deployed

    def grown(self, model: str) -> Counters:
        """What was counted for a model in the window."""
        return self._grown.get(model, Counters())


def read_heartbeats(target: Target, things: Sequence[str]) -> dict[str, Heartbeat]:
    """The last heartbeat of each of the things that has sent one."""
    client, table = target.client("dynamodb"), target.environment.heartbeat_table
    found: dict[str, Heartbeat] = {}
    keys = [{"DeviceName": {"S": thing}} for thing in things]
    while keys:
        batch, keys = keys[:_BATCH], keys[_BATCH:]
        answer = client.batch_get_item(RequestItems={table: {"Keys": batch, "ConsistentRead": True}})
        for item in answer.get("Responses", {}).get(table, []):
            found[item["DeviceName"]["S"]] = _heartbeat(item)
        keys += answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
    return found


def _heartbeat(item: Mapping[str, Any]) -> Heartbeat:
    models = item.get("Models", {}).get("M", {})
    return Heartbeat(
        received=float(item["ReceivedAt"]["N"]),
        sent=float(item["Timestamp"]["N"]),
        models={name: _model(entry["M"]) for name, entry in models.items()},
    )


def _model(entry: Mapping[str, Any]) -> Model:
    def number(name: str) -> float:
        return float(entry.get(name, {"N": "0"})["N"])

    counters = Counters(number("Predictions"), number("PredictionsFailed"), number("InferenceSeconds"))
    return Model(digest=entry["ModelDigest"]["S"], counters=counters)
