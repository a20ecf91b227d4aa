# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_constructs import heartbeat_handler
from edge_constructs.fleet_metrics import GROUP_METRICS, REFUSED
from edge_constructs.heartbeat_handler import Intake, Settings
from tests.fleet_cloud import FleetCloud

VARIABLES = {
    "TABLE": "dev-heartbeats",
    "METRIC_NAMESPACE": "EdgeManager/dev",
    "FLEET": "dev-fleet",
    "CANARY_GROUP": "dev-canary",
    "CANARIES": "dev-c1 dev-c2",
    "MODELS": "digits detector",
    "DECLARED_MODELS": "/models/",
}
FLEET, CANARY = ("dev-fleet", "dev-fleet"), ("dev-fleet", "dev-canary")
DIGEST = "a" * 64


def metrics(values: Mapping[str, float]) -> list[dict[str, Any]]:
    return [{"MetricName": name, "Value": value} for name, value in values.items()]


def model(name: str = "digits", version: str = "1.0", predictions: float = 0, failed: float = 0) -> dict[str, Any]:
    return {
        "ModelName": name,
        "ModelVersion": version,
        "ModelHandle": name,
        "ModelDigest": DIGEST,
        "SignedBy": "",
        "ModelMetrics": metrics(
            {"Predictions": predictions, "PredictionsFailed": failed, "InferenceSeconds": predictions / 100}
        ),
    }


def message(
    device: str = "dev-a", *, second: float = 0, models: Sequence[Mapping[str, Any]] = (), **agent: float
) -> dict[str, Any]:
    now = 1_800_000_000 + second
    body = {
        "DeviceName": device,
        "ClientId": device,
        "ReceivedAtMilliseconds": now * 1000,
        "AgentVersion": "1.0",
        "Timestamp": now,
        "AgentMetrics": metrics({"UptimeSeconds": 60 + second, "AgentStarts": 1, **agent}),
        "Models": list(models),
    }
    return {"messageId": f"{device}-{second}", "body": json.dumps(body)}


@pytest.fixture
def cloud() -> FleetCloud:
    cloud = FleetCloud()
    cloud.declare("digits", "1.0", DIGEST)
    return cloud


def intake(cloud: FleetCloud, **options: Any) -> Intake:
    clients = {name: client for name, client in cloud.clients.items() if name != "iot"}
    return Intake(Settings.read(VARIABLES), **clients, **options)


def take(cloud: FleetCloud, *messages: Mapping[str, Any]) -> list[str]:
    """The messages that must come again."""
    failures = intake(cloud).take({"Records": list(messages)})
    return [failure["itemIdentifier"] for failure in failures["batchItemFailures"]]


def test_a_heartbeat_is_kept_and_counted_for_its_group_and_model(cloud: FleetCloud) -> None:
    assert take(cloud, message(models=[model(predictions=7, failed=2)], CapturesRefused=3)) == []
    assert cloud.record("dev-a")["Models"]["digits"]["Predictions"] == 7
    sums = cloud.sums()
    assert sums["Predictions", *FLEET, "digits", "1.0"] == sums["Predictions", *FLEET] == 7
    assert sums["PredictionsFailed", *FLEET, "digits", "1.0"] == 2
    assert sums["CapturesRefused", *FLEET] == 3
    assert sums["Heartbeats", *FLEET] == 1


def test_canaries_are_a_group_of_their_own(cloud: FleetCloud) -> None:
    take(cloud, message("dev-c1", CapturesRefused=3), message("dev-a", CapturesRefused=5))
    sums = cloud.sums()
    assert (sums["CapturesRefused", *CANARY], sums["CapturesRefused", *FLEET]) == (3, 5)


def test_a_batch_of_many_devices_is_one_write_each_and_one_request_for_metrics(cloud: FleetCloud) -> None:
    devices = [f"dev-{number}" for number in range(250)]
    take(cloud, *(message(device, second=second) for second in (0, 60) for device in devices))
    assert cloud.writes == len(devices)
    (put,) = cloud.puts
    assert put["Namespace"] == "EdgeManager/dev"
    (beats,) = (datum for datum in put["MetricData"] if datum["MetricName"] == "Heartbeats")
    assert beats["StatisticValues"] == {"SampleCount": 500, "Sum": 500, "Minimum": 1, "Maximum": 1}


def test_what_a_rate_divides_is_there_together_even_when_nothing_happened(cloud: FleetCloud) -> None:
    take(cloud, message())
    assert {name for name, *_ in cloud.sums()} == set(GROUP_METRICS)


def test_the_same_message_again_counts_once(cloud: FleetCloud) -> None:
    one = message(models=[model(predictions=7)])
    take(cloud, one, one)
    take(cloud, one)
    assert cloud.sums()["Predictions", *FLEET] == 7
    assert cloud.writes == 1


def test_a_message_that_is_no_heartbeat_does_not_come_again_and_hinders_nobody(cloud: FleetCloud) -> None:
    spoofed = message("dev-b")
    spoofed["body"] = spoofed["body"].replace('"ClientId": "dev-b"', '"ClientId": "dev-a"')
    assert take(cloud, {"messageId": "x", "body": "no JSON"}, spoofed, message("dev-a")) == []
    assert set(cloud.items) == {"dev-a"}
    assert cloud.sums()[REFUSED, *FLEET] == 2


def test_a_device_that_cannot_be_written_comes_again_and_the_others_do_not(cloud: FleetCloud) -> None:
    written: list[None] = []

    def fail_the_first() -> None:
        written.append(None)
        if len(written) == 1:
            raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "busy"}}, "PutItem")

    cloud.before_put = fail_the_first
    assert take(cloud, message("dev-a", second=1), message("dev-b", second=2)) == ["dev-a-1"]
    assert set(cloud.items) == {"dev-b"}
    assert cloud.sums()["Heartbeats", *FLEET] == 1
    assert take(cloud, message("dev-a", second=1)) == []
    assert cloud.sums()["Heartbeats", *FLEET] == 2


def test_two_invocations_that_write_one_device_count_each_prediction_once(cloud: FleetCloud) -> None:
    other = intake(cloud)

    def meanwhile() -> None:
        cloud.before_put = lambda: None
        other.take({"Records": [message(second=60, models=[model(predictions=9)])]})

    take(cloud, message(second=0, models=[model(predictions=4)]))
    cloud.before_put = meanwhile
    take(cloud, message(second=120, models=[model(predictions=20)]))
    assert cloud.sums()["Predictions", *FLEET] == 20
    assert cloud.record("dev-a")["Models"]["digits"]["Predictions"] == 20


def test_a_device_that_others_write_all_the_time_comes_again(cloud: FleetCloud) -> None:
    take(cloud, message())

    def always() -> None:
        item = cloud.items["dev-a"]
        revision = int(item["Revision"]["N"]) + 1
        cloud.items["dev-a"] = {**item, "Revision": {"N": str(revision)}}

    cloud.before_put = always
    assert take(cloud, message(second=60)) == ["dev-a-60"]


def test_counts_that_cannot_be_put_fail_the_batch_which_then_counts_nothing_twice(cloud: FleetCloud) -> None:
    cloud.failing = {"PutMetricData"}
    with pytest.raises(ClientError, match="too many requests"):
        take(cloud, message(models=[model(predictions=7)]))
    cloud.failing = set()
    assert take(cloud, message(models=[model(predictions=7)])) == []
    assert cloud.puts == []
    take(cloud, message(second=60, models=[model(predictions=8)]))
    assert cloud.sums()["Predictions", *FLEET] == 1


def test_the_last_two_declared_versions_are_told_apart_and_all_else_is_other(cloud: FleetCloud) -> None:
    for version in ("2.0", "3.0", "3.0"):
        cloud.declare("digits", version, DIGEST)
    versions = [("digits", "1.0"), ("digits", "2.0"), ("digits", "3.0"), ("detector", "1.0"), ("own", "9")]
    for number, (name, version) in enumerate(versions):
        take(cloud, message(f"dev-{number}", models=[model(name, version, predictions=1)]))
    assert {names[1:] for names in cloud.sums() if names[0] == "Predictions"} == {
        FLEET,
        (*FLEET, "digits", "other"),
        (*FLEET, "digits", "2.0"),
        (*FLEET, "digits", "3.0"),
        (*FLEET, "other", "other"),  # detector is not packaged yet, own was never declared
    }


@settings(max_examples=30, deadline=None)  # each makes clients of its own
@given(
    sent=st.lists(
        st.tuples(
            st.sampled_from(["dev-a", "dev-c1"]),
            st.text("abc", min_size=1, max_size=9) | st.just("digits"),
            st.text("0123.", min_size=1, max_size=9),
        ),
        max_size=30,
    )
)
def test_devices_cannot_make_more_series_than_are_declared(sent: list[tuple[str, str, str]]) -> None:
    cloud = FleetCloud()
    for version in ("1.0", "2.0", "3.0"):
        cloud.declare("digits", version, DIGEST)
    messages = [
        message(device, second=second, models=[model(name, version, predictions=1)])
        for second, (device, name, version) in enumerate(sent)
    ]
    take(cloud, *messages)
    groups, models, per_model = 2, 1 * 3 + 1, 4  # two versions and other, and other models
    assert len(cloud.sums()) <= groups * (len(GROUP_METRICS) + models * per_model)


def test_what_is_declared_is_read_again_only_after_a_while(cloud: FleetCloud) -> None:
    now = [0.0]
    kept = intake(cloud, clock=lambda: now[0])
    kept.take({"Records": [message(second=0, models=[model(version="2.0", predictions=1)])]})
    cloud.declare("digits", "2.0", DIGEST)
    kept.take({"Records": [message(second=60, models=[model(version="2.0", predictions=2)])]})
    now[0] = 301.0
    kept.take({"Records": [message(second=120, models=[model(version="2.0", predictions=3)])]})
    sums = cloud.sums()
    assert (sums["Predictions", *FLEET, "digits", "other"], sums["Predictions", *FLEET, "digits", "2.0"]) == (2, 1)


def test_the_entry_point_reads_its_settings_from_the_environment(
    cloud: FleetCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "client", lambda service: cloud.clients[service])
    heartbeat_handler._intake.cache_clear()
    assert heartbeat_handler.on_messages({"Records": [message()]}, None) == {"batchItemFailures": []}
    heartbeat_handler._intake.cache_clear()
    assert set(cloud.items) == {"dev-a"}
