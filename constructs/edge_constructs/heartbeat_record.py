# SPDX-License-Identifier: Apache-2.0
"""What the cloud knows of a device by its heartbeats, and what was counted between two; standard library only.

`advance` is pure: heartbeats may come late, twice, out of order or in parts, and the agent may have started anew.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_constructs.heartbeat_message import Heartbeat, ModelBeat

#: A device's item in the heartbeat table: texts, numbers and maps of them.
Record = Mapping[str, Any]

KEY = "DeviceName"
EXPIRES = "ExpiresAt"
MODEL_COUNTERS = ("Predictions", "PredictionsFailed", "InferenceSeconds")
SLOWEST = "SlowestInferenceSeconds"

_KEPT_SECONDS = 365 * 86_400
# A device's clock may be wrong by so much; a time further ahead of ours orders nothing.
_SKEW_SECONDS = 3600
# The first heartbeat that is ever seen tells of the recent past only where the agent started recently.
_RECENT_SECONDS = 3600
_MOST_MODELS = 400  # an item has room for so many


class _Basis(enum.IntEnum):
    """What the counters of a heartbeat are held against."""

    ZERO = 0  # the agent started after the former heartbeat
    FORMER = 1
    NOTHING = 2  # there is no former heartbeat, and the counters tell of long ago: they are where counting begins


@dataclass(frozen=True)
class ModelCounts:
    """What a model counted since the former heartbeat; `metrics` by the heartbeat's names."""

    name: str
    version: str
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Counts:
    """What a device counted since the former heartbeat; empty where the message told nothing new.

    Attributes:
        beats: 1 for the first message of a heartbeat, else 0.
        agent: growth of the agent's metrics by name; meaningless for those that are no counters.
        models: of the models that the message named.
    """

    beats: int = 0
    agent: Mapping[str, float] = field(default_factory=dict)
    models: tuple[ModelCounts, ...] = ()


def advance(former: Record | None, beat: Heartbeat) -> tuple[Record, Counts]:
    """The record after a message, and what the message adds to the counts.

    A record that comes back as it was needs no writing.

    Args:
        former: the device's record; None before its first heartbeat.
        beat: a message of that device.
    """
    if former is None:
        basis = _Basis.ZERO if _is_recent(beat) else _Basis.NOTHING
        return _take(_opened(beat, agent={}, models={}, basis=basis), beat, beats=1)
    latest, received = float(former["Timestamp"]), max(float(former["ReceivedAt"]), beat.received)
    # A device whose clock was ahead, and is right again, must not be silent until that time has come.
    ahead = latest > beat.received + _SKEW_SECONDS
    if beat.timestamp > latest or (ahead and beat.timestamp < latest):
        record, counts = _take(_succeeded(former, beat), beat, beats=1)
        return _seen(record, received), counts
    if received > float(former["ReceivedAt"]):
        former = _seen(former, received)
    if beat.timestamp < latest or int(former["PartsSeen"]) & _bit(beat.part):
        return former, Counts()  # it speaks, but of what is known already
    return _take(former, beat, beats=0)


def _is_recent(beat: Heartbeat) -> bool:
    uptime = beat.agent.get("UptimeSeconds", _RECENT_SECONDS)
    return uptime < _RECENT_SECONDS and beat.agent.get("AgentStarts", 0) <= 1


def _succeeded(former: Record, beat: Heartbeat) -> Record:
    """The record as a newer heartbeat finds it: what it is counted from, none of its own parts seen."""
    before = former["Agent"]
    restarted = beat.agent.get("UptimeSeconds", float("inf")) < float(before.get("UptimeSeconds", 0))
    # With DbEnable the agent goes on with its own counters, and with the number of its starts; never with its models'.
    kept = beat.agent.get("AgentStarts", 0) > float(before.get("AgentStarts", 0))
    named = {name: model for name, model in former["Models"].items() if model["Timestamp"] == former["Timestamp"]}
    return _opened(
        beat,
        agent=before if kept or not restarted else {},
        models=named,
        basis=_Basis.ZERO if restarted else _Basis.FORMER,
    )


def _opened(beat: Heartbeat, *, agent: Mapping[str, Any], models: Mapping[str, Any], basis: _Basis) -> Record:
    record = {
        KEY: beat.device,
        "Timestamp": beat.timestamp,
        "AgentVersion": beat.agent_version,
        "Agent": agent,
        "Models": models,
        "Parts": beat.parts,
        "PartsSeen": 0,
        "Basis": int(basis),
    }
    return _seen(record, beat.received)


def _seen(record: Record, received: float) -> Record:
    return {**record, "ReceivedAt": received, EXPIRES: round(received) + _KEPT_SECONDS}


def _take(record: Record, beat: Heartbeat, *, beats: int) -> tuple[Record, Counts]:
    """The record with what a message says, which no message before it said."""
    basis = _Basis(int(record["Basis"]))
    models, counts = dict(record["Models"]), []
    for model in beat.models:
        name = _key(model, models, beat.timestamp)
        before = models.get(name) if basis is _Basis.FORMER else None
        counts.append(ModelCounts(model.name, model.version, _model_growth(before, model)))
        models[name] = _stored(model, beat.timestamp)
    seen = int(record["PartsSeen"]) | _bit(beat.part)
    if seen == _bit(int(record["Parts"]) + 1) - 1:  # every part has come: what none of them named is not loaded
        models = {name: model for name, model in models.items() if model["Timestamp"] == beat.timestamp}
    agent = _growth(record["Agent"], beat.agent)
    record = {
        **record,
        "Agent": beat.agent or record["Agent"],
        "Models": dict(list(models.items())[-_MOST_MODELS:]),
        "PartsSeen": seen,
    }
    return record, Counts(beats) if basis is _Basis.NOTHING else Counts(beats, agent, tuple(counts))


def _key(model: ModelBeat, models: Mapping[str, Any], timestamp: float) -> str:
    """The model's name; with its handle where this heartbeat named that model before, as it is loaded twice."""
    same = models.get(model.name)
    return f"{model.name}/{model.handle}" if same is not None and same["Timestamp"] == timestamp else model.name


def _stored(model: ModelBeat, timestamp: float) -> dict[str, Any]:
    return {
        "ModelVersion": model.version,
        "ModelDigest": model.digest,
        "ModelHandle": model.handle,
        "SignedBy": model.signed_by,
        **{name: model.metrics.get(name, 0.0) for name in (*MODEL_COUNTERS, SLOWEST)},
        "Timestamp": timestamp,
    }


def _model_growth(known: Mapping[str, Any] | None, model: ModelBeat) -> dict[str, float]:
    same = known is not None and (known["ModelDigest"], known["ModelHandle"]) == (model.digest, model.handle)
    before = known if known is not None and same else {}
    growth = _growth(before, {name: model.metrics.get(name, 0.0) for name in MODEL_COUNTERS})
    slowest = model.metrics.get(SLOWEST, 0.0)
    # The slowest one since the model was loaded tells something new only where it has become slower.
    return {**growth, SLOWEST: slowest} if slowest > float(before.get(SLOWEST, 0.0)) else growth


def _growth(before: Mapping[str, Any], now: Mapping[str, float]) -> dict[str, float]:
    """How much each counter grew; one that shrank began anew."""
    former = {name: float(before.get(name, 0.0)) for name in now}
    return {name: value - former[name] if value >= former[name] else value for name, value in now.items()}


def _bit(part: int) -> int:
    return 1 << (part - 1)
