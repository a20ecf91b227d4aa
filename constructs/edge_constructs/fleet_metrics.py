# SPDX-License-Identifier: Apache-2.0
"""The metrics of a fleet: their names and dimensions, and what puts them; standard library only.

The number of series is bounded by what the environment declares, whatever devices send: a group is the fleet's or the
canaries', and a model's version is one of the last two declared ones or `other`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_constructs.declared_models import DeclaredModel
from edge_constructs.heartbeat_record import MODEL_COUNTERS, SLOWEST, Counts

#: The dimensions of a group's metrics, and of a model's in it.
GROUP_DIMENSIONS = ("Fleet", "Group")
MODEL_DIMENSIONS = (*GROUP_DIMENSIONS, "Model", "Version")
OTHER = "other"

HEARTBEATS = "Heartbeats"
REFUSED = "HeartbeatsRefused"
#: Refused loads, by reason.
LOAD_FAILURES = ("LoadFailuresIntegrity", "LoadFailuresMemory", "LoadFailuresFormat", "LoadFailuresMissing")
#: Counters of the heartbeat's `AgentMetrics` that are metrics under the same name.
AGENT_COUNTERS = (
    "AgentCrashes",
    "CapturesAccepted",
    "CapturesDelivered",
    "CapturesDropped",
    "CapturesLost",
    "CapturesRefused",
    "DeliveriesFailed",
    *LOAD_FAILURES,
)
#: Put for each group at every count.
GROUP_METRICS = (HEARTBEATS, *AGENT_COUNTERS, *MODEL_COUNTERS)
#: Put for each group by the census.
DEVICES, SILENT, OTHER_DIGEST = "Devices", "SilentDevices", "DevicesWithOtherDigest"
CENSUS_METRICS = (DEVICES, SILENT, OTHER_DIGEST)

_MOST_DATA = 500  # of one PutMetricData; CloudWatch takes 1000
_UNITS = {"InferenceSeconds": "Seconds", SLOWEST: "Seconds"}

Dimensions = tuple[tuple[str, str], ...]


@dataclass
class _Statistics:
    count: int = 0
    total: float = 0.0
    least: float = 0.0
    most: float = 0.0

    def add(self, value: float) -> None:
        self.least = value if not self.count else min(self.least, value)
        self.most = value if not self.count else max(self.most, value)
        self.count += 1
        self.total += value


class FleetMetrics:
    """Gathers what many devices counted, one statistic set a series, until it is put.

    A set's time is when it is put: counts of a device that was offline count when they arrive, as alarms look at now.

    Args:
        fleet: the fleet's name.
        models: what is declared, by name.
    """

    def __init__(self, *, fleet: str, models: Mapping[str, DeclaredModel]) -> None:
        self._fleet = fleet
        self._models = models
        self._series: dict[tuple[str, Dimensions], _Statistics] = {}

    def count(self, group: str, counts: Counts) -> None:
        """Add what a device of a group counted."""
        if not (counts.beats or counts.agent or counts.models):
            return
        totals = dict.fromkeys(MODEL_COUNTERS, 0.0)
        for model in counts.models:
            dimensions = self._of_group(group) + self._of_model(model.name, model.version)
            for name, value in model.metrics.items():
                self._series.setdefault((name, dimensions), _Statistics()).add(value)
            for name in MODEL_COUNTERS:
                totals[name] += model.metrics[name]
        # Zeros as well: a rate divides one metric by another, and both must be there.
        agent = {name: counts.agent.get(name, 0.0) for name in AGENT_COUNTERS}
        for name, value in {HEARTBEATS: float(counts.beats), **agent, **totals}.items():
            self.put_value(group, name, value)

    def put_value(self, group: str, name: str, value: float) -> None:
        """Add one value of a group's metric."""
        self._series.setdefault((name, self._of_group(group)), _Statistics()).add(value)

    def data(self) -> list[dict[str, Any]]:
        """What was gathered, as PutMetricData takes it."""
        return [
            {
                "MetricName": name,
                "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions],
                "StatisticValues": {
                    "SampleCount": float(found.count),
                    "Sum": found.total,
                    "Minimum": found.least,
                    "Maximum": found.most,
                },
                "Unit": _UNITS.get(name, "Count"),
            }
            for (name, dimensions), found in self._series.items()
        ]

    def put(self, cloudwatch: Any, namespace: str) -> None:
        """Put what was gathered with as few requests as may be."""
        for part in _parts(self.data(), _MOST_DATA):
            cloudwatch.put_metric_data(Namespace=namespace, MetricData=part)

    def _of_group(self, group: str) -> Dimensions:
        return (("Fleet", self._fleet), ("Group", group))

    def _of_model(self, name: str, version: str) -> Dimensions:
        declared = self._models.get(name)
        if declared is None:
            return (("Model", OTHER), ("Version", OTHER))
        return (("Model", name), ("Version", version if version in declared.versions else OTHER))


def _parts(data: Sequence[dict[str, Any]], most: int) -> Iterator[Sequence[dict[str, Any]]]:
    for start in range(0, len(data), most):
        yield data[start : start + most]
