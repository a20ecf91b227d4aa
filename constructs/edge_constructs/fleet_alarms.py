# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import aws_cdk as cdk
import aws_cdk.aws_cloudwatch as cloudwatch
import aws_cdk.aws_cloudwatch_actions as actions
import aws_cdk.aws_sns as sns
import aws_cdk.aws_sqs as sqs
from constructs import Construct

from edge_constructs import fleet_census
from edge_constructs.fleet_description import ERROR_RATE, LATENCY, FleetDescription, Rate
from edge_constructs.fleet_metrics import LOAD_FAILURES, OTHER_DIGEST, SILENT

#: Where the page of each alarm lies, by the last part of the alarm's name.
RUNBOOKS = "docs/operations/runbooks"

_AT_LEAST = cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD
_ABOVE = cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD
_Missing = cloudwatch.TreatMissingData


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What raises an alarm; counts are of one group.

    Attributes:
        silent_devices: so many silent devices.
        load_failures: so many refused loads in a window.
        error_percentage: more failed predictions of 100 in a window.
        latency_milliseconds: a longer mean prediction in a window.
        refused_captures: so many refused captures in a window.
        other_digest_devices: so many devices that run another model than the declared one.
        window: over which counts and rates are taken.
    """

    silent_devices: int
    load_failures: int
    error_percentage: float
    latency_milliseconds: float
    refused_captures: int
    other_digest_devices: int
    window: cdk.Duration


class FleetAlarms(Construct):
    """The alarms of each group of a fleet, and of what carries heartbeats; each has a page that tells what to do.

    Args:
        scope: the construct it stands in.
        id_: its id there.
        fleet: whose metrics.
        thresholds: what raises an alarm.
        undelivered: the queue of heartbeats that could not be taken.
        notify: whether alarms reach `notifications`; all the same, they show their state.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        fleet: FleetDescription,
        thresholds: Thresholds,
        undelivered: sqs.Queue,
        notify: bool,
    ) -> None:
        super().__init__(scope, id_)
        self._fleet = fleet
        self._thresholds = thresholds
        self._notify = notify
        self.notifications = sns.Topic(self, "Notifications", enforce_ssl=True)
        self.alarms: list[cloudwatch.Alarm] = []
        for group in fleet.groups:
            self._of_devices(group)
            self._of_counts(group)
            self._of_rates(group)
        self._alarm(
            fleet.fleet,
            "undelivered-heartbeats",
            "heartbeats could not be taken, and wait for someone to look",
            metric=undelivered.metric_approximate_number_of_messages_visible(
                statistic=cloudwatch.Stats.MAXIMUM, period=fleet_census.PERIOD
            ),
            threshold=1,
            missing=_Missing.NOT_BREACHING,  # a queue that nothing came to sends no metric
        )

    def _of_devices(self, group: str) -> None:
        """What the census counts; two counts of three, as one may fall between two periods."""
        thresholds = self._thresholds
        for kind, name, threshold, missing, what in (
            # No count at all is no good news: whoever counts is silent then, too.
            ("silent-devices", SILENT, thresholds.silent_devices, _Missing.BREACHING, "devices are silent"),
            (
                "other-digest",
                OTHER_DIGEST,
                thresholds.other_digest_devices,
                _Missing.IGNORE,
                "devices run another model than the declared one",
            ),
        ):
            metric = self._fleet.metric(group, name, statistic=cloudwatch.Stats.MAXIMUM, period=fleet_census.PERIOD)
            self._alarm(group, kind, what, metric=metric, threshold=threshold, missing=missing, counts=(2, 3))

    def _of_counts(self, group: str) -> None:
        names = {name[0].lower() + name[1:]: name for name in LOAD_FAILURES}
        self._alarm(
            group,
            "load-failures",
            "models were refused at load",
            metric=self._fleet.rate(group, Rate(" + ".join(names), names), period=self._thresholds.window),
            threshold=self._thresholds.load_failures,
            missing=_Missing.NOT_BREACHING,
        )
        self._alarm(
            group,
            "capture-refusals",
            "captures were refused for want of room",
            metric=self._fleet.metric(
                group, "CapturesRefused", statistic=cloudwatch.Stats.SUM, period=self._thresholds.window
            ),
            threshold=self._thresholds.refused_captures,
            missing=_Missing.NOT_BREACHING,
        )

    def _of_rates(self, group: str) -> None:
        """Without a prediction there is no rate, and the alarm stays as it was."""
        thresholds = self._thresholds
        for kind, rate, threshold, what in (
            ("error-rate", ERROR_RATE, thresholds.error_percentage, "of 100 predictions more fail than may"),
            ("latency", LATENCY, thresholds.latency_milliseconds, "predictions take more milliseconds than they may"),
        ):
            self._alarm(
                group,
                kind,
                what,
                metric=self._fleet.rate(group, rate, period=thresholds.window),
                threshold=threshold,
                missing=_Missing.IGNORE,
                comparison=_ABOVE,
            )

    def _alarm(
        self,
        group: str,
        kind: str,
        what: str,
        *,
        metric: cloudwatch.IMetric,
        threshold: float,
        missing: cloudwatch.TreatMissingData,
        comparison: cloudwatch.ComparisonOperator = _AT_LEAST,
        counts: Sequence[int] = (1, 1),
    ) -> None:
        id_ = "".join(part.title() for part in kind.split("-"))
        scope = self if group == self._fleet.fleet else _part(self, "Canary")
        alarm = cloudwatch.Alarm(
            scope,
            id_,
            alarm_name=f"{group}-{kind}",
            alarm_description=f"{group}: {what}. What to do: {RUNBOOKS}/{kind}.md",
            metric=metric,
            threshold=threshold,
            comparison_operator=comparison,
            datapoints_to_alarm=counts[0],
            evaluation_periods=counts[1],
            treat_missing_data=missing,
            actions_enabled=self._notify,
        )
        alarm.add_alarm_action(actions.SnsAction(self.notifications))
        alarm.add_ok_action(actions.SnsAction(self.notifications))
        self.alarms.append(alarm)


def _part(scope: Construct, id_: str) -> Construct:
    found = scope.node.try_find_child(id_)
    return found if isinstance(found, Construct) else Construct(scope, id_)
