# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

import pytest

from local.core_device.cloud import ComponentRequest

STAY = "echo started $$; exec sleep 60"


def test_a_deployment_installs_runs_and_reports(device: Any) -> None:
    device.add(
        "app",
        install="echo installed in $PWD; touch stamp",
        run="test -f stamp && cat {artifacts:decompressedPath}/content/message && exec sleep 60",
        files={"message": b"hello from the artifact\n"},
    )
    details = device.deploy_and_wait({"app": "1.0.0", "aws.greengrass.Nucleus": "2.14.3"})
    assert details == {"detailed-deployment-status": "SUCCESSFUL"}
    assert device.component("app")["state"] == "RUNNING"
    device.wait(lambda: "hello from the artifact" in device.log("app"))
    assert f"installed in {device.root}/work/app" in device.log("app")
    topic, health = next(item for item in reversed(device.cloud.published) if item[0].endswith("/health/json"))
    assert topic == "$aws/things/device-1/greengrassv2/health/json"
    assert health["overallDeviceStatus"] == "HEALTHY"
    assert health["ggcVersion"] == "2.14.3"
    assert {item["componentName"]: item["status"] for item in health["components"]} == {
        "app": "RUNNING",
        "aws.greengrass.Nucleus": "FINISHED",
    }
    assert [message["status"] for topic, message in device.cloud.published if "/jobs/" in topic] == [
        "IN_PROGRESS",
        "SUCCEEDED",
    ]


def test_a_process_sees_what_greengrass_gives_it_and_nothing_else(
    make_device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "the-machine's")
    monkeypatch.setenv("SECRET_OF_THE_MACHINE", "x")
    monkeypatch.setenv("PIP_NO_INPUT", "1")
    device = make_device()
    device.start()
    device.add("app", run={"Script": "env; exec sleep 60", "Setenv": {"GREETING": "for {iot:thingName}"}})
    device.deploy_and_wait({"app": "1.0.0"})
    lines = device.wait(lambda: device.log("app")).splitlines()
    environment = dict(line.split("=", 1) for line in lines if "=" in line)
    assert environment["AWS_IOT_THING_NAME"] == "device-1"
    assert environment["AWS_REGION"] == environment["AWS_DEFAULT_REGION"] == "us-east-1"
    assert environment["GREETING"] == "for device-1"
    assert environment["PIP_NO_INPUT"] == "1"
    assert environment["SVCUID"]
    assert environment["GGC_VERSION"]
    assert environment["AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"]
    absent = {"AWS_ACCESS_KEY_ID", "SECRET_OF_THE_MACHINE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"}
    assert not absent & set(environment)


def test_a_hard_dependency_starts_first_and_its_version_is_found(device: Any) -> None:
    device.add("base", "1.0.0", run=STAY)
    device.add("base", "1.2.0", run="date +%s%N > started; exec sleep 60")
    device.add("base", "2.0.0", run=STAY)
    device.add("app", run="date +%s%N > started; exec sleep 60", dependencies={"base": "^1.0.0"})
    device.deploy_and_wait({"app": "1.0.0"})
    assert device.component("base")["version"] == "1.2.0"
    started = [device.wait((device.root / "work" / name / "started").read_text) for name in ("base", "app")]
    assert int(started[0]) < int(started[1]) + 50_000_000


def test_a_crashed_component_is_started_again(device: Any) -> None:
    device.add("app", run=STAY)
    device.deploy_and_wait({"app": "1.0.0"})
    pid = device.component("app")["pid"]
    os.kill(pid, signal.SIGKILL)
    device.wait(lambda: device.component("app")["restarts"] == 1 and device.component("app")["state"] == "RUNNING")
    assert device.component("app")["pid"] != pid
    assert device.log("app").count("started") == 2


def test_a_component_that_crashes_three_times_is_broken_and_fails_its_deployment(device: Any) -> None:
    device.add("app", run="echo once more; exit 3")
    details = device.deploy_and_wait({"app": "1.0.0"}, expect="FAILED", rollback=False)
    assert details["detailed-deployment-status"] == "FAILED_ROLLBACK_NOT_REQUESTED"
    assert "exit code 3, 3 times" in details["deployment-failure-cause"]
    assert device.log("app").count("once more") == 3
    assert device.component("app")["state"] == "BROKEN"
    health = [message for topic, message in device.cloud.published if topic.endswith("/health/json")][-1]
    assert health["overallDeviceStatus"] == "UNHEALTHY"


def test_crashes_further_apart_than_the_window_do_not_break_a_component(make_device: Any) -> None:
    device = make_device(error_window_seconds=0.2)
    device.start()
    device.add("app", run="echo once more; sleep 0.3; exit 3")
    device.deploy({"app": "1.0.0"})
    device.wait(lambda: device.log("app").count("once more") > 4)
    assert device.component("app")["state"] != "BROKEN"


def test_a_failed_deployment_returns_to_the_former_set_and_configuration(device: Any) -> None:
    device.add("app", "1.0.0", run="echo one {configuration:/Greeting}; exec sleep 60", defaults={"Greeting": "hi"})
    device.add("app", "1.1.0", run="exit 1", defaults={"Greeting": "hi"})
    device.add("extra", run=STAY)
    device.deploy_and_wait({"app": ComponentRequest("1.0.0", merge={"Greeting": "hello"})})
    details = device.deploy_and_wait(
        {"app": ComponentRequest("1.1.0", merge={"Greeting": "bye"}), "extra": "1.0.0"}, expect="FAILED"
    )
    assert details["detailed-deployment-status"] == "FAILED_ROLLBACK_COMPLETE"
    assert device.component("app")["version"] == "1.0.0"
    assert device.component("app")["state"] == "RUNNING"
    assert device.component("extra") is None
    device.wait(lambda: device.log("app").count("one hello") == 2)
    assert not (device.root / "config" / "extra.json").exists()


def test_install_is_tried_three_times(device: Any) -> None:
    device.add("app", install="echo once >> tries; test $(wc -l < tries) -eq 3", run=STAY)
    device.deploy_and_wait({"app": "1.0.0"})
    assert (device.root / "work" / "app" / "tries").read_text() == "once\n" * 3


def test_install_that_never_works_is_broken_and_its_dependent_does_not_start(device: Any) -> None:
    device.add("base", install="exit 7")
    device.add("app", run=STAY, dependencies={"base": "*"})
    details = device.deploy_and_wait({"app": "1.0.0"}, expect="FAILED", rollback=False)
    assert "exit code 7 (attempt 3 of 3)" in details["deployment-failure-cause"]
    assert "its dependency base is not up" in details["deployment-failure-cause"]
    assert "started" not in device.log("app")


def test_install_is_ended_at_its_timeout_with_all_that_it_started(make_device: Any, is_alive: Any) -> None:
    device = make_device(install_attempts=1)
    device.start()
    device.add("app", install={"Script": "sleep 60 & echo $! > child; wait", "Timeout": 1})
    details = device.deploy_and_wait({"app": "1.0.0"}, expect="FAILED", rollback=False)
    assert "longer than its Timeout of 1 s" in details["deployment-failure-cause"]
    assert not is_alive(int((device.root / "work" / "app" / "child").read_text()))


def test_exit_code_0_is_finished(device: Any) -> None:
    device.add("app", run="echo done")
    device.deploy_and_wait({"app": "1.0.0"})
    assert device.component("app")["state"] == "FINISHED"
    assert device.log("app").count("done") == 1


def test_a_component_that_a_deployment_no_longer_has_is_removed(device: Any, is_alive: Any) -> None:
    device.add("old", run=STAY, files={"a": b"1"})
    device.add("new", run=STAY)
    device.deploy_and_wait({"old": "1.0.0"})
    pid = device.component("old")["pid"]
    device.deploy_and_wait({"new": "1.0.0"})
    assert not is_alive(pid)
    assert device.component("old") is None
    assert not (device.root / "config" / "old.json").exists()
    assert not (device.root / "packages" / "artifacts-unarchived" / "old").exists()


def test_a_component_that_did_not_change_keeps_running_in_a_new_deployment(device: Any) -> None:
    device.add("stays", run=STAY)
    device.add("changes", run="echo {configuration:/A}; exec sleep 60", defaults={"A": "1"})
    device.deploy_and_wait({"stays": "1.0.0", "changes": "1.0.0"})
    before = {name: device.component(name)["pid"] for name in ("stays", "changes")}
    device.deploy_and_wait({"stays": "1.0.0", "changes": ComponentRequest("1.0.0", merge={"A": "2"})})
    assert device.component("stays")["pid"] == before["stays"]
    assert device.component("changes")["pid"] != before["changes"]
    device.wait(lambda: device.log("changes") == "1\n2\n")


def test_a_changed_artifact_fails_on_its_digest_and_changes_nothing(device: Any, make_archive: Any) -> None:
    device.add("app", "1.0.0", run=STAY)
    device.deploy_and_wait({"app": "1.0.0"})
    pid = device.component("app")["pid"]
    device.add("app", "1.1.0", run=STAY, files={"a": b"1"})
    device.cloud.objects["s3://bucket/app/1.1.0/content.zip"] = make_archive({"a": b"2"})
    details = device.deploy_and_wait({"app": "1.1.0"}, expect="FAILED")
    assert details["detailed-deployment-status"] == "FAILED_NO_STATE_CHANGE"
    assert "SHA-256" in details["deployment-failure-cause"]
    assert device.component("app")["pid"] == pid


def test_an_unknown_component_of_aws_is_refused_by_name(device: Any) -> None:
    details = device.deploy_and_wait({"aws.greengrass.LogManager": "2.3.0"}, expect="FAILED")
    assert "aws.greengrass.LogManager" in details["deployment-failure-cause"]


def test_a_recipe_that_lite_would_not_run_is_refused(device: Any) -> None:
    device.add("app", run="echo ${HOME}")
    details = device.deploy_and_wait({"app": "1.0.0"}, expect="FAILED")
    assert "write $HOME without braces" in details["deployment-failure-cause"]


def test_sigterm_reaches_the_whole_group_and_a_stubborn_process_is_killed(make_device: Any, is_alive: Any) -> None:
    device = make_device(stop_seconds=0.5)
    device.start()
    device.add("polite", run="trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done")
    device.add("stubborn", run="trap '' TERM; sleep 60 & echo $! > child; echo ready; while :; do sleep 0.05; done")
    device.deploy_and_wait({"polite": "1.0.0", "stubborn": "1.0.0"})
    device.wait(lambda: "ready" in device.log("polite") and "ready" in device.log("stubborn"))
    pids = [device.component(name)["pid"] for name in ("polite", "stubborn")]
    child = int((device.root / "work" / "stubborn" / "child").read_text())
    begin = time.monotonic()
    device.stop()
    assert time.monotonic() - begin < 3
    assert "bye" in device.log("polite")
    assert not any(is_alive(pid) for pid in (*pids, child))


def test_a_second_start_resumes_without_the_cloud(make_device: Any) -> None:
    first = make_device()
    first.start()
    first.add("app", install="echo install", run="echo run {configuration:/A}; exec sleep 60", defaults={"A": "1"})
    first.deploy_and_wait({"app": ComponentRequest("1.0.0", merge={"A": "2"})})
    first.stop()
    second = make_device()
    second.cloud.reachable = False
    second.start()
    second.wait(lambda: second.log("app").count("run 2") == 2)
    assert second.log("app").count("install") == 2
    second.wait(lambda: not second.state()["online"])
    assert second.component("app")["state"] == "RUNNING"


def test_a_deployment_that_finds_no_network_is_carried_out_later(device: Any) -> None:
    device.add("app", run=STAY)
    device.cloud.reachable = False
    id_ = device.deploy({"app": "1.0.0"})
    device.wait(lambda: not device.state()["online"])
    device.cloud.reachable = True
    device.wait(lambda: device.cloud.deployments[id_][0].status == "SUCCEEDED")
    assert device.component("app")["state"] == "RUNNING"


def test_existing_devices_keep_values_when_defaults_change(device: Any) -> None:
    run = "cat ../../config/app.json; exec sleep 60"
    device.add("app", "1.0.0", run=run, defaults={"A": "1", "B": "1"})
    device.add("app", "1.1.0", run=run, defaults={"A": "9", "B": "9", "New.Key": "9"})
    device.deploy_and_wait({"app": "1.0.0"})
    device.deploy_and_wait({"app": ComponentRequest("1.1.0", reset=("/B",))})
    kept = json.loads((device.root / "config" / "app.json").read_text())
    assert kept == {"A": "1", "B": "9", "New.Key": "9"}


def test_a_root_serves_one_device_at_a_time(device: Any, make_device: Any) -> None:
    second = make_device(root=device.root)
    second.start()
    second.wait(lambda: second.failure)
    assert "belongs to a core device that is running" in str(second.failure)
    second.failure = None


THING = "arn:aws:iot:us-east-1:111122223333:thing/device-1"
CANARY = "arn:aws:iot:us-east-1:111122223333:thinggroup/canary"


def test_two_targets_make_one_set_and_conflicts_are_refused_by_name(device: Any) -> None:
    for name in ("one", "two"):
        device.add(name, run=STAY)
    device.add("one", "2.0.0", run=STAY)
    device.deploy_and_wait({"one": "1.0.0"})
    device.deploy_and_wait({"two": "1.0.0"}, target=THING)
    pids = {name: item["pid"] for name, item in device.state()["components"].items()}
    assert pids.keys() == {"one", "two"}
    details = device.deploy_and_wait({"one": "2.0.0"}, expect="FAILED", target=THING)
    assert details["detailed-deployment-status"] == "FAILED_NO_STATE_CHANGE"
    cause = details["deployment-failure-cause"]
    for text in ("component one", "1.0.0", "2.0.0", "thinggroup/fleet", "thing/device-1", "deploy one version to both"):
        assert text in cause
    assert {name: item["pid"] for name, item in device.state()["components"].items()} == pids


def test_the_same_version_of_two_targets_is_no_conflict_and_stays_while_one_of_them_has_it(device: Any) -> None:
    for name in ("shared", "own"):
        device.add(name, run=STAY)
    device.deploy_and_wait({"shared": "1.0.0"})
    device.deploy_and_wait({"shared": "1.0.0", "own": "1.0.0"}, target=CANARY)
    device.deploy_and_wait({}, target=CANARY)
    assert device.state()["components"].keys() == {"shared"}
    assert not (device.root / "config" / "own.json").exists()
    device.deploy_and_wait({})
    assert device.state()["components"] == {}


def test_what_one_target_depends_on_must_fit_what_another_pins(device: Any) -> None:
    device.add("lib", "1.0.0", run=STAY)
    device.add("lib", "2.0.0", run=STAY)
    device.add("app", run=STAY, dependencies={"lib": "^2.0.0"})
    device.deploy_and_wait({"lib": "1.0.0"})
    details = device.deploy_and_wait({"app": "1.0.0"}, expect="FAILED", target=CANARY)
    assert (
        "component lib: the deployment pins 1.0.0, but required is '^2.0.0' (by app 1.0.0)"
        in (details["deployment-failure-cause"])
    )
    assert device.state()["components"].keys() == {"lib"}


def test_a_device_that_changed_its_group_has_what_the_new_one_deploys_alone(device: Any) -> None:
    for name in ("app", "former"):
        device.add(name, run=STAY)
    device.add("app", "1.1.0", run=STAY)
    device.deploy_and_wait({"app": "1.0.0", "former": "1.0.0"})
    # It is a canary now: the fleet's deployment reaches it no more, so its other version of app is no conflict.
    device.cloud.reachable = False
    former = tuple(device.cloud.deployments)
    id_ = device.deploy({"app": "1.1.0"}, target=CANARY)
    for other in former:
        del device.cloud.deployments[other]
    device.cloud.reachable = True
    device.wait(lambda: device.cloud.deployments[id_][0].status == "SUCCEEDED")
    assert {name: item["version"] for name, item in device.state()["components"].items()} == {"app": "1.1.0"}


def test_waiting_deployments_are_carried_out_by_age_so_that_the_youngest_configuration_wins(make_device: Any) -> None:
    device = make_device()
    device.add("app", run=STAY, defaults={"A": "default", "B": "default", "C": "default"})
    older = device.deploy({"app": ComponentRequest("1.0.0", merge={"A": "older", "B": "older"})}, target=THING)
    younger = device.deploy({"app": ComponentRequest("1.0.0", merge={"B": "younger"})}, target=CANARY)
    # The cloud may list them in any order.
    device.cloud.deployments = dict(reversed(device.cloud.deployments.items()))
    device.start()
    for id_ in (older, younger):
        device.wait(lambda id_=id_: device.cloud.deployments[id_][0].status == "SUCCEEDED")
    assert configuration(device, "app") == {"A": "older", "B": "younger", "C": "default"}


def configuration(device: Any, component: str) -> Any:
    return json.loads((device.root / "config" / f"{component}.json").read_text())


def test_with_a_reset_a_setting_that_ends_and_a_default_that_changes_reach_devices(device: Any) -> None:
    device.add("app", "1.0.0", run=STAY, defaults={"Interval": "3600", "Topic": "old", "Nested": {"x": "1"}})
    device.add("app", "1.1.0", run=STAY, defaults={"Interval": "3600", "Topic": "new", "Nested": {"x": "1"}})

    def deploy(version: str, **merge: Any) -> Any:
        device.deploy_and_wait({"app": ComponentRequest(version, merge=merge, reset=("",))})
        return configuration(device, "app")

    set_ = {"Interval": "5", "Nested": {"x": "2", "y": "3"}}
    assert deploy("1.0.0", **set_) == {"Interval": "5", "Topic": "old", "Nested": {"x": "2", "y": "3"}}
    assert deploy("1.0.0", Interval="5") == {"Interval": "5", "Topic": "old", "Nested": {"x": "1"}}
    assert deploy("1.1.0") == {"Interval": "3600", "Topic": "new", "Nested": {"x": "1"}}


def test_a_reset_that_changes_nothing_restarts_nothing(device: Any) -> None:
    device.add("app", run=STAY, defaults={"Interval": "3600"})
    request = ComponentRequest("1.0.0", merge={"Interval": "5"}, reset=("",))
    device.deploy_and_wait({"app": request})
    pid = device.component("app")["pid"]
    device.deploy_and_wait({"app": request})
    assert device.component("app")["pid"] == pid
