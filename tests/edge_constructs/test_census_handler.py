# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time
from typing import Any

import boto3
import pytest

from edge_constructs import census_handler
from edge_constructs.census_handler import Census, Settings
from edge_constructs.heartbeat_table import encode
from tests.fleet_cloud import FleetCloud

VARIABLES = {
    "TABLE": "dev-heartbeats",
    "METRIC_NAMESPACE": "EdgeManager/dev",
    "FLEET": "dev-fleet",
    "THING_GROUPS": "dev-fleet dev-canary",
    "MODELS": "digits",
    "DECLARED_MODELS": "/models/",
    "SILENT_SECONDS": "900",
    "ROLLOUT_SECONDS": "3600",
}
NOW = 1_800_000_000.0
OLD, NEW, ALTERED = "a" * 64, "b" * 64, "c" * 64


@pytest.fixture
def cloud() -> FleetCloud:
    cloud = FleetCloud(groups={"dev-fleet": [], "dev-canary": []})
    cloud.declare("digits", "1.0", OLD, at=NOW - 100_000)
    return cloud


def heard(cloud: FleetCloud, device: str, *, ago: float = 60, group: str = "dev-fleet", **digests: str) -> None:
    """A member of a group whose last heartbeat came so many seconds ago, with these models loaded."""
    cloud.groups[group].append(device)
    models = {name.replace("__", "/"): {"ModelDigest": digest} for name, digest in digests.items()}
    record = {"DeviceName": device, "ReceivedAt": NOW - ago, "Models": models}
    cloud.items[device] = {name: encode(value) for name, value in record.items()}


def count(cloud: FleetCloud, *, now: float = NOW, group: str = "dev-fleet") -> tuple[float, float, float]:
    """How many devices there are, are silent, and run another model."""
    cloud.puts.clear()
    Census(Settings.read(VARIABLES), **cloud.clients).take(now)
    assert {put["Namespace"] for put in cloud.puts} == {"EdgeManager/dev"}
    sums = cloud.sums()
    devices, silent, other = (
        sums[name, "dev-fleet", group] for name in ("Devices", "SilentDevices", "DevicesWithOtherDigest")
    )
    return devices, silent, other


def test_every_group_is_counted_even_where_there_is_nothing_to_count(cloud: FleetCloud) -> None:
    heard(cloud, "dev-a")
    heard(cloud, "dev-c", ago=1000, group="dev-canary")
    assert count(cloud) == (1, 0, 0)
    assert count(cloud, group="dev-canary") == (1, 1, 0)


@pytest.mark.parametrize(("ago", "silent"), [(0, 0), (900, 0), (901, 1), (30 * 86_400, 1)])
def test_a_device_is_silent_from_the_set_time_on_and_for_ever(cloud: FleetCloud, ago: float, silent: int) -> None:
    for number in range(5):  # more than a page of everything
        heard(cloud, f"dev-{number}")
    heard(cloud, "dev-a", ago=ago)
    assert count(cloud) == (6, silent, 0)


def test_a_device_that_never_spoke_has_as_long_as_any_other_and_is_silent_then(cloud: FleetCloud) -> None:
    cloud.groups["dev-fleet"].append("dev-new")
    assert count(cloud) == (1, 0, 0)
    assert count(cloud, now=NOW + 900) == (1, 0, 0)
    assert count(cloud, now=NOW + 901) == (1, 1, 0)
    assert count(cloud, now=NOW + 30 * 86_400) == (1, 1, 0)


def test_who_spoke_or_left_is_awaited_no_longer(cloud: FleetCloud) -> None:
    cloud.groups["dev-fleet"] += ["dev-new", "dev-gone"]
    count(cloud)
    assert {"awaited/dev-new", "awaited/dev-gone"} <= set(cloud.items)
    cloud.groups["dev-fleet"] = []
    heard(cloud, "dev-new")
    assert count(cloud) == (1, 0, 0)
    assert set(cloud.items) == {"dev-new"}


def test_who_is_in_no_group_is_not_counted(cloud: FleetCloud) -> None:
    heard(cloud, "dev-a", ago=10_000)
    cloud.groups["dev-fleet"] = []
    assert count(cloud) == (0, 0, 0)


def test_a_model_with_another_digest_is_counted_by_device(cloud: FleetCloud) -> None:
    heard(cloud, "dev-a", digits=OLD)
    heard(cloud, "dev-b", digits=ALTERED)
    heard(cloud, "dev-c", digits=OLD, digits__second=ALTERED)
    assert count(cloud) == (3, 0, 2)


def test_a_model_that_nobody_declared_is_its_clients_affair(cloud: FleetCloud) -> None:
    heard(cloud, "dev-a", own=ALTERED)
    assert count(cloud) == (1, 0, 0)


def test_a_silent_device_is_not_counted_twice(cloud: FleetCloud) -> None:
    heard(cloud, "dev-a", ago=1000, digits=ALTERED)
    assert count(cloud) == (1, 1, 0)


def test_while_a_release_rolls_out_the_former_digest_is_as_good(cloud: FleetCloud) -> None:
    heard(cloud, "dev-old", digits=OLD)
    heard(cloud, "dev-new", digits=NEW)
    heard(cloud, "dev-bad", digits=ALTERED)
    cloud.declare("digits", "2.0", NEW, at=NOW)
    assert count(cloud, now=NOW) == (3, 0, 1)
    cloud.declare("digits", "2.0", NEW, at=NOW + 800)  # written again, and declared no later for it
    assert count(cloud, now=NOW + 3600) == (3, 3, 0)  # nobody spoke since
    heard(cloud, "dev-late", ago=-3600, digits=OLD)
    assert count(cloud, now=NOW + 3600) == (4, 3, 0)
    assert count(cloud, now=NOW + 3601) == (4, 3, 1)


def test_before_a_model_is_packaged_no_digest_is_another(cloud: FleetCloud) -> None:
    cloud.parameters.clear()
    heard(cloud, "dev-a", digits=ALTERED)
    assert count(cloud) == (1, 0, 0)


def test_the_log_names_who_is_meant(cloud: FleetCloud, caplog: pytest.LogCaptureFixture) -> None:
    heard(cloud, "dev-a", ago=1000)
    heard(cloud, "dev-b", digits=ALTERED)
    count(cloud)
    (line,) = (record.message for record in caplog.records if '"group": "dev-fleet"' in record.message)
    assert '"SilentDevices": ["dev-a"]' in line
    assert '"DevicesWithOtherDigest": ["dev-b"]' in line


def test_the_entry_point_counts_now(cloud: FleetCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    heard(cloud, "dev-a")
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    clients: dict[str, Any] = cloud.clients
    monkeypatch.setattr(boto3, "client", lambda service: clients[service])
    monkeypatch.setattr(time, "time", lambda: NOW + 3600)
    census_handler._census.cache_clear()
    census_handler.on_schedule({}, None)
    census_handler._census.cache_clear()
    assert cloud.sums()["SilentDevices", "dev-fleet", "dev-fleet"] == 1
