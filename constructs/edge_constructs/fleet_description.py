# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import aws_cdk as cdk
import aws_cdk.aws_cloudwatch as cloudwatch


@dataclass(frozen=True)
class Rate:
    """One metric computed of others: `expression` names them in lower case, `metrics` by those names."""

    expression: str
    metrics: Mapping[str, str]


_ANSWERED = {"answered": "Predictions"}
#: Of 100 predictions, those that failed.
ERROR_RATE = Rate("100 * failed / (answered + failed)", {**_ANSWERED, "failed": "PredictionsFailed"})
#: The mean of a prediction, in milliseconds.
LATENCY = Rate("1000 * seconds / answered", {**_ANSWERED, "seconds": "InferenceSeconds"})


@dataclass(frozen=True, kw_only=True)
class FleetDescription:
    """What intake, census, alarms and dashboard know of a fleet.

    Attributes:
        fleet: the fleet's name, which is its thing group's too.
        canary_group: the canaries' thing group.
        canaries: the canaries' things; there is no group without any.
        models: names of the declared models.
        declared_models: prefix of the parameters that tell what is declared of them.
        metric_namespace: of every metric.
    """

    fleet: str
    canary_group: str
    canaries: Sequence[str]
    models: Sequence[str]
    declared_models: str
    metric_namespace: str

    @property
    def groups(self) -> tuple[str, ...]:
        """The thing groups."""
        return (self.fleet, self.canary_group) if self.canaries else (self.fleet,)

    @property
    def variables(self) -> dict[str, str]:
        """What both functions are told."""
        return {
            "DECLARED_MODELS": self.declared_models,
            "FLEET": self.fleet,
            "METRIC_NAMESPACE": self.metric_namespace,
            "MODELS": " ".join(self.models),
        }

    def metric(self, group: str, name: str, *, statistic: str, period: cdk.Duration) -> cloudwatch.Metric:
        """A group's metric."""
        return cloudwatch.Metric(
            namespace=self.metric_namespace,
            metric_name=name,
            dimensions_map={"Fleet": self.fleet, "Group": group},
            statistic=statistic,
            period=period,
        )

    def rate(self, group: str, rate: Rate, *, period: cdk.Duration) -> cloudwatch.MathExpression:
        """A group's rate, over every model and version."""
        metrics: dict[str, cloudwatch.IMetric] = {
            id_: self.metric(group, name, statistic=cloudwatch.Stats.SUM, period=period)
            for id_, name in rate.metrics.items()
        }
        return cloudwatch.MathExpression(expression=rate.expression, using_metrics=metrics, period=period)
