# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
import aws_cdk.aws_cloudwatch as cloudwatch
from constructs import Construct

from edge_constructs import fleet_census
from edge_constructs.fleet_description import ERROR_RATE, LATENCY, FleetDescription, Rate
from edge_constructs.fleet_metrics import CENSUS_METRICS, HEARTBEATS, LOAD_FAILURES, MODEL_DIMENSIONS, REFUSED
from edge_constructs.heartbeat_record import SLOWEST

_CAPTURES = ("CapturesDelivered", "CapturesRefused", "CapturesLost", "CapturesDropped")
_WIDTH, _HEIGHT = 8, 6


class FleetDashboard(Construct):
    """One page for a fleet: alarms, then a row of devices, predictions and what failed for each group.

    Versions of models are searched for, so that the page needs no change when a release brings a new one.

    Args:
        scope: the construct it stands in.
        id_: its id there.
        name: the dashboard's, of letters, digits, dashes and underscores.
        fleet: whose metrics.
        alarms: shown on top.
    """

    def __init__(
        self, scope: Construct, id_: str, *, name: str, fleet: FleetDescription, alarms: Sequence[cloudwatch.Alarm]
    ) -> None:
        super().__init__(scope, id_)
        self._fleet = fleet
        dashboard = cloudwatch.Dashboard(
            self, "Dashboard", dashboard_name=name, default_interval=cdk.Duration.hours(12)
        )
        dashboard.add_widgets(
            cloudwatch.AlarmStatusWidget(title="Alarms", alarms=list(alarms), width=3 * _WIDTH, height=4)
        )
        for group in fleet.groups:
            dashboard.add_widgets(cloudwatch.TextWidget(markdown=f"# {group}", width=3 * _WIDTH, height=1))
            dashboard.add_widgets(
                self._graph("Devices", group, CENSUS_METRICS, statistic=cloudwatch.Stats.MAXIMUM),
                self._graph("Heartbeats", group, (HEARTBEATS, REFUSED, "AgentCrashes")),
                self._graph("Captures", group, _CAPTURES),
            )
            dashboard.add_widgets(
                self._versions("Predictions", group, "Predictions"),
                self._versions("Failed predictions", group, "PredictionsFailed"),
                self._versions("Slowest prediction, s", group, SLOWEST, statistic=cloudwatch.Stats.MAXIMUM),
            )
            dashboard.add_widgets(
                self._rate("Failed of 100 predictions", group, ERROR_RATE),
                self._rate("Mean prediction, ms", group, LATENCY),
                self._graph("Refused loads, repeated uploads", group, (*LOAD_FAILURES, "DeliveriesFailed")),
            )

    def _graph(
        self, title: str, group: str, names: Sequence[str], *, statistic: str = cloudwatch.Stats.SUM
    ) -> cloudwatch.GraphWidget:
        metrics: list[cloudwatch.IMetric] = [
            self._fleet.metric(group, name, statistic=statistic, period=fleet_census.PERIOD) for name in names
        ]
        return cloudwatch.GraphWidget(title=title, left=metrics, width=_WIDTH, height=_HEIGHT)

    def _rate(self, title: str, group: str, rate: Rate) -> cloudwatch.GraphWidget:
        metric = self._fleet.rate(group, rate, period=fleet_census.PERIOD)
        return cloudwatch.GraphWidget(title=title, left=[metric], width=_WIDTH, height=_HEIGHT)

    def _versions(
        self, title: str, group: str, name: str, *, statistic: str = cloudwatch.Stats.SUM
    ) -> cloudwatch.GraphWidget:
        """One line for each version of a model."""
        schema = ",".join((self._fleet.metric_namespace, *MODEL_DIMENSIONS))
        seconds = f"{fleet_census.PERIOD.to_seconds():g}"
        search = f"SEARCH('{{{schema}}} MetricName=\"{name}\" Group=\"{group}\"', '{statistic}', {seconds})"
        metric = cloudwatch.MathExpression(expression=search, label="", period=fleet_census.PERIOD, using_metrics={})
        return cloudwatch.GraphWidget(title=title, left=[metric], width=_WIDTH, height=_HEIGHT)
