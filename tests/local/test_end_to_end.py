# SPDX-License-Identifier: Apache-2.0
"""The whole way, as a user runs it: these tests start what `make demo` starts and look at what it leaves."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from local.demo import evidence
from local.system import ROOT, LocalSystem

# Below build/, where the components' virtual environments survive from run to run.
DIRECTORY = ROOT / "build" / "end-to-end"
HELD_OUT = ROOT / "models" / "digits" / "held_out"
IMAGES = len(list(HELD_OUT.glob("*.png")))

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform != "linux", reason="the recipes are for Linux, and /proc tells what runs"),
]


def running() -> dict[int, str]:
    """Processes that work in DIRECTORY, by what they were started with: process id to command line."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = process.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environment = process.joinpath("environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if int(process.name) != os.getpid() and (str(DIRECTORY) in command or str(DIRECTORY) in environment):
            found[int(process.name)] = command
    return found


def listening() -> set[str]:
    """Addresses, in the kernel's notation, at which the processes of `running` listen for TCP connections."""
    tables = [Path("/proc/net", name).read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table]
    by_inode = {f"socket:[{row[9]}]": row[1].rpartition(":")[0] for row in rows if row[3] == "0A"}
    found = set()
    for pid in running():
        with contextlib.suppress(OSError):
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    found.add(by_inode.get(str(descriptor.readlink()), ""))
    return found - {""}


@pytest.fixture
def leaves_nothing() -> Iterator[None]:
    yield
    deadline = time.monotonic() + 10
    while running() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert running() == {}


def start_demo() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "local.demo", "--directory", str(DIRECTORY)]
    return subprocess.Popen(command, cwd=ROOT, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.mark.usefixtures("leaves_nothing")
def test_the_demo_predicts_captures_and_reports() -> None:
    demo = start_demo()
    addresses: set[str] = set()
    while demo.poll() is None:
        addresses |= listening()
        time.sleep(0.2)
    output = demo.communicate()[0].decode()
    assert demo.returncode == 0, output
    assert addresses == {"0100007F"}, "something listened elsewhere than on 127.0.0.1"
    report = json.loads((DIRECTORY / "report.json").read_text())
    assert report["faults"] == []
    assert "All is as it must be." in (DIRECTORY / "report.html").read_text(encoding="utf-8")
    assert report["images"] == report["captures"] == report["messages"] == IMAGES == 360
    assert report["accuracy"] >= 0.95
    assert report["differing_labels"] == []
    assert report["model_digest"] == report["declared_digest"]
    assert "AccessDenied" in report["denied_call"]
    key = r"sme-capture/dev-fleet/digits/\d{4}/\d\d/\d\d/\d\d/[0-9a-f]{32}\.jsonl"
    assert re.fullmatch(key, report["capture_key"])
    assert list(report["capture_record"]) == sorted(report["capture_record"])
    assert re.fullmatch(r"Top 5 predictions with score 0\.3 or above ", report["message"]["inference-description"])
    assert max(map(len, output.splitlines())) <= 100


@pytest.mark.usefixtures("leaves_nothing")
def test_ctrl_c_leaves_nothing_running() -> None:
    log = DIRECTORY / "device" / "logs"
    shutil.rmtree(log, ignore_errors=True)  # a former run's
    demo = start_demo()
    deadline = time.monotonic() + 300
    while not list(log.glob("*Agent.log")) and demo.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert running(), "the device did not start"
    os.killpg(demo.pid, signal.SIGINT)  # a terminal's Ctrl-C reaches the whole group
    output = demo.communicate(timeout=60)[0].decode()
    assert demo.returncode == 130, output
    assert "Traceback" not in output


@pytest.fixture
def system() -> Iterator[LocalSystem]:
    """dev with passes that follow one another closely, its device a canary."""
    overrides = {
        "inference.image_directory": str(HELD_OUT),
        "inference.interval_seconds": "1",
        "devices": '["device-1", "device-2"]',
        "canaries": '["device-1"]',
    }
    with LocalSystem(directory=DIRECTORY, stage="dev", overrides=overrides, notify=lambda _step: None) as system:
        system.synthesise()
        system.deploy()
        system.start_device()
        system.wait_until_deployed(timeout=600)
        yield system


def deploy_again(system: LocalSystem, merge: Mapping[str, Mapping[str, str]]) -> None:
    """Deploy to the canaries what they have, with other parameters of some components."""
    greengrass, iot = system.aws.client("greengrassv2"), system.aws.client("iot")
    members = {
        group: iot.list_things_in_thing_group(thingGroupName=group)["things"] for group in ("dev-canary", "dev-fleet")
    }
    assert members == {"dev-canary": ["dev-device-1"], "dev-fleet": ["dev-device-2"]}
    by_group = {item["targetArn"].rpartition("/")[2]: item for item in greengrass.list_deployments()["deployments"]}
    assert by_group.keys() == set(members)
    release, rollout = (
        greengrass.get_deployment(deploymentId=by_group[group]["deploymentId"]) for group in ("dev-canary", "dev-fleet")
    )
    assert release["components"] == rollout["components"], "the signing keys included, which each stack read itself"
    components = release["components"]
    for name, values in merge.items():
        update = components[name]["configurationUpdate"]
        update["merge"] = json.dumps({**json.loads(update["merge"]), **values})
    greengrass.create_deployment(
        targetArn=release["targetArn"], components=components, deploymentPolicies=release["deploymentPolicies"]
    )


@pytest.mark.usefixtures("leaves_nothing")
def test_neither_a_killed_agent_nor_an_update_costs_a_prediction_or_a_capture(system: LocalSystem) -> None:
    inference, agent = system.assembly.component(".ImageClassification"), system.assembly.component(".Agent")

    def predictions() -> list[Any]:
        return list(system.events(inference, "prediction"))

    def wait_for(condition: Callable[[], bool], what: str) -> None:
        system.wait_for(condition, what=what, timeout=120)

    kills = 2  # a third within the hour, and the nucleus leaves the component BROKEN
    for _ in range(kills):
        begun = len(predictions())
        wait_for(lambda begun=begun: len(predictions()) > begun + 40, "predictions")  # type: ignore[misc]
        loaded = len(list(system.events(agent, "model_loaded")))
        (pid,) = [pid for pid, command in running().items() if f"{agent}/" in command and "python -I" in command]
        os.kill(pid, signal.SIGKILL)
        wait_for(
            lambda loaded=loaded: len(list(system.events(agent, "model_loaded"))) > loaded,  # type: ignore[misc]
            "loading again",
        )
    passes = len(list(system.events(inference, "pass_finished")))
    wait_for(lambda: len(list(system.events(inference, "pass_finished"))) > passes, "a whole pass")

    begun = len(predictions())
    wait_for(lambda: len(predictions()) > begun + 40, "predictions of the next pass")
    deploy_again(system, {agent: {"InferenceThreads": "2"}})  # for which the agent must be started again
    # Deferred, most often; where it came between two passes, it is let through at once.
    wait_for(lambda: bool(list(system.events(inference, "update_awaited"))), "the component's leave")
    wait_for(lambda: system.deployment_status() == "SUCCEEDED", "the update")
    begun = len(predictions())
    wait_for(lambda: len(predictions()) > begun, "predictions after it")

    def all_captured() -> bool:
        return {entry["capture_id"] for entry in predictions()} <= set(evidence.read_captures(system).records)

    wait_for(all_captured, "captures")
    system.stop_device()
    acknowledged = Counter(entry["capture_id"] for entry in predictions())
    assert set(acknowledged.values()) == {1}
    counts = evidence.read_captures(system).counts
    assert {id_ for id_ in acknowledged if counts[id_] > 1} == set()
    for finished in system.events(inference, "pass_finished"):
        assert finished["images"] == IMAGES
