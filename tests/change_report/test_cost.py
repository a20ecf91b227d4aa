# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from change_report.cost import cost_move, read_prices
from change_report.errors import ReportError
from change_report.usage import monthly_usage

ASSUMED = {"images_per_pass": 1, "capture_bytes": 1000, "hours_connected": 730}
HEARTBEATS = "gg/sageMakerEdgeManager/heartbeat"


def settings(**more: Any) -> dict[str, Any]:
    base = {
        "devices": ["a", "b"],
        "heartbeat": {"period_seconds": 3600},
        "inference": {"interval_seconds": 3600, "topic": "results"},
        "capture": {"batch_size": 10, "push_period_seconds": 36000},
        "retention": {"captures_days": 10},
    }
    return {**base, **more}


def templates(*resources: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    found = {f"R{number}": {"Type": type_, "Properties": told} for number, (type_, told) in enumerate(resources)}
    return {"Stack": {"Resources": found}}


def rule(topic: str, *actions: str) -> tuple[str, dict[str, Any]]:
    payload = {
        "Sql": f"SELECT * FROM '{topic}'",  # noqa: S608 -- IoT's
        "Actions": [{action: {}} for action in actions],
    }
    return "AWS::IoT::TopicRule", {"TopicRulePayload": payload}


def test_messages_and_captures_follow_from_the_settings() -> None:
    usage = monthly_usage(settings(), templates(), ASSUMED)
    assert usage == {
        "greengrass.core_devices": 2,
        "iot.connection_minutes": 2 * 730 * 60,
        "iot.messages": 2 * (730 + 730),
        "s3.put_requests": 2 * 73,  # ten records a push period fill one batch
        "s3.gigabytes": 0.00048,  # a record an hour and device, kept ten days
    }


def test_a_full_batch_does_not_wait_for_the_period() -> None:
    capture = {"batch_size": 5, "push_period_seconds": 36000}
    assert monthly_usage(settings(capture=capture), templates(), ASSUMED)["s3.put_requests"] == 4 * 73
    assert "s3.put_requests" not in monthly_usage(settings(capture={"destination": "Disk"}), templates(), ASSUMED)


def test_rules_count_the_topics_that_they_take() -> None:
    stack = templates(
        rule("gg/+/heartbeat", "Sqs", "CloudwatchMetric"),
        rule("other/#", "Lambda"),
        ("AWS::Lambda::EventSourceMapping", {"BatchSize": 10}),
        ("AWS::DynamoDB::Table", {}),
    )
    usage = monthly_usage(settings(), stack, ASSUMED)
    heartbeats = 2 * 730
    assert usage["iot.rules"] == heartbeats
    assert usage["iot.rule_actions"] == 2 * heartbeats
    assert usage["cloudwatch.put_requests"] == heartbeats
    assert usage["lambda.requests"] == heartbeats / 10
    assert usage["sqs.requests"] == heartbeats + 2 * heartbeats / 10
    assert usage["dynamodb.writes"] == heartbeats


def test_a_metric_that_several_name_counts_once() -> None:
    metric = {"Namespace": "EdgeManager/dev", "MetricName": "Errors", "Dimensions": [{"Name": "Fleet", "Value": "f"}]}
    body = '{"widgets": [{"properties": {"metrics": [["EdgeManager/dev", "Errors", "Fleet", "f"], ["AWS/S3", "X"]]}}]}'
    stack = templates(
        ("AWS::CloudWatch::Alarm", metric),
        ("AWS::CloudWatch::Alarm", {"Metrics": [{"MetricStat": {"Metric": metric}}]}),
        ("AWS::CloudWatch::Alarm", {"Namespace": "AWS/SQS", "MetricName": "Age"}),
        ("AWS::CloudWatch::Dashboard", {"DashboardBody": body}),
    )
    usage = monthly_usage(settings(), stack, ASSUMED)
    assert (usage["cloudwatch.metrics"], usage["cloudwatch.alarms"], usage["cloudwatch.dashboards"]) == (1, 3, 1)


def test_every_price_has_a_page_and_every_usage_a_price() -> None:
    prices = read_prices()
    assert prices.as_of
    assert all(price.page and price.what for price in prices.prices.values())
    stack = templates(rule("results", "Sqs", "Lambda", "DynamoDBv2", "CloudwatchMetric"), ("AWS::KMS::Key", {}))
    assert monthly_usage(settings(), stack, ASSUMED).keys() <= prices.prices.keys()


def test_what_has_no_price_counts_as_nothing_and_is_told_of() -> None:
    prices = read_prices()
    move = cost_move(prices, {"kms.keys": 1}, {"kms.keys": 2, "greengrass.core_devices": 5})
    assert (move.before, move.after) == (1.0, 2.0)
    devices = next(line for line in move.lines if line.what == "active core devices")
    assert (devices.cost_after, devices.source) == (None, "yours to fill: AWS IoT Greengrass pricing")


def test_a_damaged_price_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text('as_of = "2025-06"\n', encoding="utf-8")
    with pytest.raises(ReportError, match=r"prices\.toml: a table of prices is expected"):
        read_prices(path)
