# SPDX-License-Identifier: Apache-2.0
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.aws.extension.metric_math import UnsupportedMathError, compare, evaluate
from local.aws.server import EmbeddedAws
from tests.local.aws.test_resource_types import Stack

_NUMBER = st.floats(0, 1e6)


@given(answered=_NUMBER, failed=_NUMBER)
def test_arithmetic_is_as_it_is_written(answered: float, failed: float) -> None:
    got = evaluate("100 * failed / (answered + failed)", {"answered": answered, "failed": failed})
    if answered + failed:
        assert got is not None
        assert math.isclose(got, 100 * failed / (answered + failed))
    else:
        assert got is None


def test_a_metric_without_a_value_makes_no_data_point() -> None:
    assert evaluate("a - b", {"a": 1.0}) is None
    assert evaluate("a - 2.5", {"a": 1.0}) == -1.5


@pytest.mark.parametrize("expression", ["SUM(a)", "a ** 2", "a if b else c", "SEARCH('x', 'Sum')", "a +", "'a'"])
def test_what_is_more_than_arithmetic_is_refused(expression: str) -> None:
    with pytest.raises(UnsupportedMathError, match="metric math"):
        evaluate(expression, {"a": 1.0, "b": 1.0, "c": 1.0})


@pytest.mark.parametrize(
    ("comparison", "below", "equal", "above"),
    [
        ("GreaterThanThreshold", False, False, True),
        ("GreaterThanOrEqualToThreshold", False, True, True),
        ("LessThanThreshold", True, False, False),
        ("LessThanOrEqualToThreshold", True, True, False),
    ],
)
def test_comparisons(comparison: str, *, below: bool, equal: bool, above: bool) -> None:
    assert [compare(value, comparison, 5.0) for value in (4.0, 5.0, 6.0)] == [below, equal, above]


def test_an_alarm_on_metric_math_follows_its_metrics(aws: EmbeddedAws) -> None:
    def metric(id_: str, name: str) -> dict[str, object]:
        stat = {"Metric": {"Namespace": "Test", "MetricName": name}, "Period": 300, "Stat": "Sum"}
        return {"Id": id_, "MetricStat": stat, "ReturnData": False}

    queries = [{"Id": "rate", "Expression": "100 * f / (a + f)"}, metric("a", "Answered"), metric("f", "Failed")]
    alarm = {
        "AlarmName": "rate",
        "Metrics": queries,
        "Threshold": 5,
        "ComparisonOperator": "GreaterThanThreshold",
        "EvaluationPeriods": 1,
    }
    stack = Stack(aws, "math")
    cloudwatch = aws.client("cloudwatch")

    def state() -> str:
        return str(cloudwatch.describe_alarms(AlarmNames=["rate"])["MetricAlarms"][0]["StateValue"])

    def put(name: str, value: float) -> None:
        cloudwatch.put_metric_data(Namespace="Test", MetricData=[{"MetricName": name, "Value": value}])

    try:
        assert stack.put({"Alarm": {"Type": "AWS::CloudWatch::Alarm", "Properties": alarm}}, {})[0] == "CREATE_COMPLETE"
        assert state() == "INSUFFICIENT_DATA"
        put("Answered", 95)
        assert state() == "INSUFFICIENT_DATA"
        put("Failed", 5)
        assert state() == "OK"
        put("Failed", 1)
        assert state() == "ALARM"
        put("Answered", 100)
        assert state() == "OK"
        history = cloudwatch.describe_alarm_history(AlarmName="rate", HistoryItemType="StateUpdate")[
            "AlarmHistoryItems"
        ]
        assert len(history) >= 3
    finally:
        stack.delete()
