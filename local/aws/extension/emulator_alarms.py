# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: SLF001 - private names of ministack are what this module is for
"""Alarms on metric math, which ministack refuses: evaluated here, whenever it evaluates the others."""

import time
from collections.abc import Mapping
from typing import Any

from ministack.services import cloudwatch
from ministack.services.cloudformation import provisioners

from local.aws.extension.metric_math import compare, evaluate

_METRICS = "Metrics"


def install() -> None:
    """Takes alarms with `Metrics` in templates, and keeps their state."""
    record, evaluate_alarm = provisioners._cw_metric_alarm_record, cloudwatch._evaluate_alarm

    def with_metrics(name: str, properties: Mapping[str, Any]) -> dict[str, Any]:
        queries = properties.get(_METRICS)
        if not queries:
            return dict(record(name, properties))
        plain = {key: value for key, value in properties.items() if key != _METRICS}
        alarm = dict(record(name, {**plain, "MetricName": name, "Namespace": name}))
        return {**alarm, "MetricName": None, "Namespace": None, "Statistic": None, _METRICS: queries}

    def evaluate_any(alarm: dict[str, Any]) -> None:
        if alarm.get(_METRICS):
            _evaluate(alarm)
        else:
            evaluate_alarm(alarm)

    provisioners._cw_metric_alarm_record = with_metrics
    cloudwatch._evaluate_alarm = evaluate_any


def _evaluate(alarm: dict[str, Any]) -> None:
    """One period, the last; without a data point the state stays, whatever the alarm makes of missing data."""
    (expression,) = (query for query in alarm[_METRICS] if query.get("Expression"))
    queries = [query for query in alarm[_METRICS] if query.get("MetricStat")]
    values = {query["Id"]: value for query in queries if (value := _statistic(query["MetricStat"])) is not None}
    value = evaluate(expression["Expression"], values)
    if value is None:
        return
    former, threshold, comparison = alarm["StateValue"], alarm["Threshold"], alarm["ComparisonOperator"]
    state = "ALARM" if compare(value, comparison, threshold) else "OK"
    if state == former:
        return
    reason = f"Threshold Crossed: {expression['Expression']} is {value:g}, {comparison} {threshold:g}"
    alarm.update(StateValue=state, StateReason=reason, StateUpdatedTimestamp=int(time.time()))
    cloudwatch._record_history(alarm["AlarmName"], former, state, reason)
    cloudwatch._dispatch_alarm_actions(alarm, former, state, reason)


def _statistic(query: Mapping[str, Any]) -> float | None:
    metric = query["Metric"]
    dimensions = cloudwatch._dims_key(cloudwatch._dims_from_list(metric.get("Dimensions") or []))
    since = time.time() - float(query["Period"])
    bucket = cloudwatch._metrics.get((metric["Namespace"], metric["MetricName"], dimensions), [])
    points = [point for point in bucket if point["Timestamp"] >= since]
    return float(cloudwatch._stat_value(cloudwatch._calc_stats(points), query["Stat"], points)) if points else None
