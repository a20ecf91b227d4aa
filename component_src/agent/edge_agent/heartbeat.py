# SPDX-License-Identifier: Apache-2.0
"""The heartbeat: what SendHeartbeat of SageMaker Edge Manager carried, as JSON to an IoT Core topic.

Members have the names of that request. Edge Manager never published its metrics' names; the ones here are ours.
Digests of models are an addition. A message stays below what the smallest nucleus forwards; with many loaded models
there are several, numbered, with the same timestamp.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Callable

from edge_agent.captures.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_agent.metrics import Metrics, ModelMetrics
    from edge_agent.models import LoadedModel, ModelRegistry
    from edge_agent.settings import Settings

_LOG = logging.getLogger(__name__)
AGENT_VERSION = "1.0"
_LONGEST_MESSAGE = 6000  # bytes: nucleus lite closes the connection above 10 000 encoded
_MOST_PARTS = 40  # some 400 models; more are not named
_AGENT_METRICS = {
    "starts": "AgentStarts",
    "crashes": "AgentCrashes",
    "predictions": "Predictions",
    "predictions_failed": "PredictionsFailed",
    "captures_accepted": "CapturesAccepted",
    "captures_refused": "CapturesRefused",
    "captures_delivered": "CapturesDelivered",
    "captures_lost": "CapturesLost",
    "captures_dropped": "CapturesDropped",
    "deliveries_failed": "DeliveriesFailed",
    "load_failures_integrity": "LoadFailuresIntegrity",
    "load_failures_memory": "LoadFailuresMemory",
    "load_failures_format": "LoadFailuresFormat",
    "load_failures_missing": "LoadFailuresMissing",
    "uptime_seconds": "UptimeSeconds",
    "cpu_seconds": "CpuSeconds",
    "resident_bytes": "MemoryBytes",
    "spool_captures": "SpoolCaptures",
    "spool_bytes": "SpoolBytes",
}


def messages(
    *,
    settings: Settings,
    now: float,
    agent: Mapping[str, float],
    models: list[tuple[LoadedModel, ModelMetrics]],
) -> list[bytes]:
    """Write one heartbeat, in as many messages as its models need.

    By its part, a reader tells a model that is not loaded any more from one that another message names.

    Args:
        settings: The agent's parameters.
        now: Seconds since 1970 UTC.
        agent: The agent's metrics by the names of ``_AGENT_METRICS``.
        models: The loaded models and what was counted for them.
    """
    head: dict[str, Any] = {
        "AgentVersion": AGENT_VERSION,
        "DeviceName": settings.device_name,
        "DeviceFleetName": settings.device_fleet_name,
        "Timestamp": round(now, 3),
        "AgentMetrics": [
            _metric(name, agent[key], settings.device_name, now) for key, name in _AGENT_METRICS.items() if key in agent
        ],
    }
    parts: list[list[dict[str, Any]]] = [[]]
    for model in (_model(loaded, metrics, now) for loaded, metrics in models):
        longer = _part(head, len(parts), _MOST_PARTS, [*parts[-1], model])
        if parts[-1] and len(longer) > _LONGEST_MESSAGE:
            parts.append([])
        parts[-1].append(model)
    parts = parts[:_MOST_PARTS]
    return [_part(head, number, len(parts), part) for number, part in enumerate(parts, start=1)]


def _part(head: Mapping[str, Any], number: int, parts: int, models: list[dict[str, Any]]) -> bytes:
    """One message of a heartbeat; the agent's own metrics stand in the first."""
    first = head if number == 1 else {**head, "AgentMetrics": []}
    return json.dumps({**first, "Part": number, "Parts": parts, "Models": models}, separators=(",", ":")).encode()


def _model(loaded: LoadedModel, metrics: ModelMetrics, now: float) -> dict[str, Any]:
    values = {
        "Predictions": metrics.predictions,
        "PredictionsFailed": metrics.failures,
        "InferenceSeconds": round(metrics.seconds, 6),
        "SlowestInferenceSeconds": round(metrics.slowest_seconds, 6),
    }
    return {
        "ModelName": loaded.name,
        "ModelVersion": loaded.version,
        "ModelHandle": loaded.handle,
        "ModelDigest": loaded.digest,
        "SignedBy": loaded.signed_by,
        **({"LatestInference": round(metrics.latest_inference, 3)} if metrics.latest_inference else {}),
        **({"LatestSampleTime": round(metrics.latest_sample, 3)} if metrics.latest_sample else {}),
        "ModelMetrics": [_metric(name, value, loaded.name, now) for name, value in values.items()],
    }


def _metric(name: str, value: float, dimension: str, now: float) -> dict[str, Any]:
    return {"Dimension": dimension, "MetricName": name, "Value": round(value, 6), "Timestamp": round(now, 3)}


class Heartbeat:
    """Sends a heartbeat every period, and saves the counters with each.

    Args:
        settings: The agent's parameters; see ``configure``.
        metrics: What was counted.
        models: The loaded models.
        spool: Gives how many captures, and how many bytes of them, are on their way.
        publish: Takes a topic and a payload, and raises ``OSError`` when it cannot; None without a nucleus.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        metrics: Metrics,
        models: ModelRegistry,
        spool: Callable[[], tuple[int, int]],
        publish: Callable[[str, bytes], None] | None,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._models = models
        self._spool = spool
        self._publish = publish
        self._silent = False
        self._wake = threading.Event()
        self.worker = Worker("heartbeat", self._step)

    def configure(self, settings: Settings) -> None:
        """Go on with other parameters, at once."""
        self._settings = settings
        self._wake.set()

    def stop(self, seconds: float) -> None:
        """End, waiting no longer than so many seconds."""
        self.worker.stop()
        self._wake.set()
        self.worker.join(seconds)

    def agent_metrics(self) -> dict[str, float]:
        """The agent's own metrics."""
        captures, size = self._spool()
        gauges = {"spool_captures": float(captures), "spool_bytes": float(size)}
        return {**self._metrics.counters(), **self._metrics.process(), **gauges}

    def model_metrics(self) -> list[tuple[LoadedModel, ModelMetrics]]:
        """The loaded models and what was counted for them."""
        loaded = self._models.list()
        counted = self._metrics.models([model.handle for model in loaded])
        return [(model, counted[model.handle]) for model in loaded]

    def _step(self) -> bool:
        if not self._wake.wait(self._settings.heartbeat_period_seconds):
            self._metrics.save(running=True)
            self._send()
        if not self.worker.stopping.is_set():
            self._wake.clear()
        return False

    def _send(self) -> None:
        settings = self._settings
        if self._publish is None or not settings.heartbeat_topic:
            return
        beat = messages(settings=settings, now=time.time(), agent=self.agent_metrics(), models=self.model_metrics())
        try:
            for message in beat:
                self._publish(settings.heartbeat_topic, message)
        except OSError as error:
            if not self._silent:  # once until it works again: an offline night is not worth a line a minute
                _LOG.warning("heartbeat_not_sent", extra={"fields": {"error": str(error)}})
            self._silent = True
            return
        if self._silent:
            _LOG.info("heartbeat_sent_again")
        self._silent = False
