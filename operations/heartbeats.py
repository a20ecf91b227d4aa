# SPDX-License-Identifier: Apache-2.0
"""Devices' heartbeats, as the table holds the last one of each, and what they say over a while."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_constructs.heartbeat_record import MODEL_COUNTERS, Record
from edge_constructs.heartbeat_table import HeartbeatTable
from operations.target import Target

# A deployment of longer ago than this is none that is being verified: what was counted since is history.
_RECENT_SECONDS = 3600


@dataclass(frozen=True)
class Counters:
    """What was counted for a model since it was loaded, in the order of `MODEL_COUNTERS`; seconds of `predictions`."""

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
    the deployment, or from nothing where a device had sent none, or runs the model anew. Where a release brings
    devices nothing new, their deployment is of long ago: then it is the growth from the first heartbeat that is seen.
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
            old = former is None and heartbeat.received - deployed > _RECENT_SECONDS
            known = heartbeat.models if old else {} if former is None else former.models
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
    table = HeartbeatTable(target.client("dynamodb"), target.environment.heartbeat_table)
    return {thing: _heartbeat(record) for thing, record in table.read(things).items()}


def _heartbeat(record: Record) -> Heartbeat:
    return Heartbeat(
        received=float(record["ReceivedAt"]),
        sent=float(record["Timestamp"]),
        models={name: _model(entry) for name, entry in record["Models"].items()},
    )


def _model(entry: Mapping[str, Any]) -> Model:
    counted = (float(entry.get(name, 0)) for name in MODEL_COUNTERS)
    return Model(digest=str(entry["ModelDigest"]), counters=Counters(*counted))
