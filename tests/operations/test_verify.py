# SPDX-License-Identifier: Apache-2.0
"""Verification against the embedded AWS; the devices are played, and time passes only while it waits."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import pytest

from operations.errors import RefusedError
from operations.verify import VerificationError, verify

CANARIES = {"devices": '["device-1", "device-2"]', "canaries": '["device-1"]'}


def failure(released: Any, *steps: Callable[[], object], script: Any, first: bool = False) -> str:
    with pytest.raises(VerificationError) as caught:
        verify(released.target, first=first, clock=script(*steps).clock, wait_seconds=180)
    return str(caught.value)


@pytest.fixture
def thing(released: Any) -> str:
    return str(released.target.environment.thing_names[0])


def test_a_release_passes_once_its_devices_have_shown_it(released: Any, thing: str, script: Any) -> None:
    deployment = released.release("1.0.0")
    played = script(
        lambda: released.account.report(thing, deployment, "IN_PROGRESS"),
        lambda: released.run(thing, deployment, "1.0.0", state="STARTING"),
        lambda: released.account.report_state(thing, [released.component("1.0.0")]),
        lambda: released.beat(thing, predictions=5),
        lambda: released.beat(thing, predictions=15, seconds=0.05),
    )
    verify(released.target, first=False, clock=played.clock)
    said = "\n".join(released.account.said)
    assert "no core device has ever reported under this name" in said
    assert "has not carried the deployment out: IN_PROGRESS" in said
    assert "App 1.0.0 is STARTING" in said
    assert "silent: 1 of 2 heartbeats" in said
    assert "digest dddddddddddddddd…: 15 predictions, 0 failed, 3.33 ms on average" in said


def test_a_heartbeat_of_before_the_deployment_is_none_of_it(released: Any, thing: str, script: Any) -> None:
    released.beat(thing, predictions=1000, failed=500, seconds=9000)
    deployment = released.release("1.0.0")
    played = script(
        lambda: released.run(thing, deployment, "1.0.0"),
        lambda: released.beat(thing, predictions=1010, failed=500, seconds=9000.1),
        lambda: released.beat(thing, predictions=1020, failed=500, seconds=9000.2),
    )
    verify(released.target, first=False, clock=played.clock)
    assert "20 predictions, 0 failed, 10 ms on average" in released.account.said[-1]


def test_counters_that_begin_anew_count_from_there(released: Any, thing: str, script: Any) -> None:
    deployment = released.release("1.0.0")
    played = script(
        lambda: released.run(thing, deployment, "1.0.0"),
        lambda: released.beat(thing, predictions=1000),
        lambda: released.beat(thing, predictions=8, failed=2),
    )
    verify(released.target, first=False, clock=played.clock)
    assert "1010 predictions, 2 failed" in released.account.said[-1]


@pytest.mark.parametrize(("more", "passes"), [(0, True), (2, False)])
def test_what_was_counted_long_after_the_deployment_and_before_the_first_look_is_history(
    released: Any,
    thing: str,
    script: Any,
    more: int,
    passes: bool,  # noqa: FBT001 -- a column of the table
) -> None:
    """A release that brings devices nothing: neither former failures nor a good past count for it."""
    deployment = released.release("1.0.0")
    released.run(thing, deployment, "1.0.0")
    released.moment = time.time() + 2 * 3600
    released.beat(thing, predictions=1_000_000, failed=500 if more else 500_000)
    before = 500 if more else 500_000
    step = functools.partial(released.beat, thing, predictions=1_000_010, failed=before + more)
    if passes:
        verify(released.target, first=False, clock=script(step).clock)
        assert "10 predictions, 0 failed" in released.account.said[-1]
    else:
        assert "2 of 12 predictions of model digits failed" in failure(released, step, script=script)


def test_two_percent_of_failures_are_too_many(released: Any, thing: str, script: Any) -> None:
    deployment = released.release("1.0.0")
    message = failure(
        released,
        lambda: released.run(thing, deployment, "1.0.0"),
        lambda: released.beat(thing, predictions=90),
        lambda: released.beat(thing, predictions=98, failed=2),
        script=script,
    )
    assert f"{thing}: error rate over the bound: 2 of 100 predictions of model digits failed, 2 %; 1 % are" in message


def test_a_slow_model_is_too_slow(released: Any, thing: str, script: Any) -> None:
    deployment = released.release("1.0.0")
    message = failure(
        released,
        lambda: released.run(thing, deployment, "1.0.0"),
        lambda: released.beat(thing, predictions=1, seconds=1),
        lambda: released.beat(thing, predictions=10, seconds=15),
        script=script,
    )
    assert "latency over the bound: model digits took 1.5e+03 ms on average of 10 predictions; 1000 ms are" in message


def test_a_wrong_digest_is_named(released: Any, thing: str, script: Any) -> None:
    deployment = released.release("1.0.0")
    message = failure(
        released,
        lambda: released.run(thing, deployment, "1.0.0"),
        lambda: released.beat(thing, digest="e" * 64),
        lambda: released.beat(thing, digest="e" * 64),
        script=script,
    )
    text = "wrong digest: model digits is loaded with eeeeeeeeeeeeeeee…, dddddddddddddddd… is declared"
    assert message == f"{released.account.namespace}-fleet: the release is not verified:\n  {thing}: {text}"


def test_a_broken_component_fails_at_once(released: Any, thing: str, script: Any) -> None:
    deployment = released.release("1.0.0")
    played = script(lambda: released.run(thing, deployment, "1.0.0", state="BROKEN"))
    with pytest.raises(VerificationError, match=r"App 1\.0\.0 is BROKEN: it ended again and again"):
        verify(released.target, first=False, clock=played.clock)
    assert played.seconds <= 10


@pytest.mark.parametrize(
    "said",
    [
        ("ERRORED", "1.0.0", r"App 1\.0\.0 is ERRORED"),
        ("RUNNING", "0.9.0", r"App is of version 0\.9\.0, 1\.0\.0 is declared"),
    ],
)
def test_what_may_get_better_has_its_time(released: Any, thing: str, script: Any, said: tuple[str, str, str]) -> None:
    state, version, message = said
    deployment = released.release("1.0.0")
    played = script(lambda: released.run(thing, deployment, version, state=state))
    with pytest.raises(VerificationError, match=rf"not verified within 5 minutes:\n  .*{message}"):
        verify(released.target, first=False, clock=played.clock, wait_seconds=300)
    assert played.seconds >= 300


def test_a_component_that_is_missing_is_named(released: Any, thing: str, script: Any) -> None:
    deployment = released.release("1.0.0")
    message = failure(released, lambda: released.account.report(thing, deployment, "SUCCEEDED"), script=script)
    assert "App is not installed, 1.0.0 is declared" in message


def test_a_failed_deployment_has_the_device_s_reason(released: Any, thing: str, script: Any) -> None:
    deployment = released.release("1.0.0")
    message = failure(
        released, lambda: released.account.report(thing, deployment, "FAILED", why="disk is full"), script=script
    )
    assert f"{thing}: deployment FAILED: disk is full" in message


@pytest.mark.parametrize("beats", [0, 1])
def test_a_silent_device_is_named(released: Any, thing: str, script: Any, beats: int) -> None:
    deployment = released.release("1.0.0")
    steps = [lambda: released.run(thing, deployment, "1.0.0"), *[lambda: released.beat(thing)] * beats]
    message = failure(released, *steps, script=script)
    assert f"{thing}: silent: {beats} of 2 heartbeats since it carried the deployment out" in message
    assert "not verified within 3 minutes" in message


def test_a_model_that_is_not_loaded_or_asked_for_nothing_is_not_verified(
    released: Any, thing: str, script: Any
) -> None:
    deployment = released.release("1.0.0")
    steps = [lambda: released.run(thing, deployment, "1.0.0"), *[lambda: released.beat(thing, predictions=0)] * 3]
    assert "model digits is loaded, and was asked for no prediction yet" in failure(released, *steps, script=script)
    assert "model digits is not loaded" in failure(released, lambda: released.beat(thing, model="other"), script=script)


def test_a_cancelled_deployment_fails(released: Any, script: Any) -> None:
    deployment = released.release("1.0.0")
    greengrass = released.account.aws.client("greengrassv2")
    message = failure(released, lambda: greengrass.cancel_deployment(deploymentId=deployment), script=script)
    assert f"deployment {deployment} was cancelled, by its abort criteria or by somebody" in message


def test_a_superseded_deployment_fails_and_tells_what_to_do(released: Any, script: Any) -> None:
    deployment = released.release("1.0.0")
    message = failure(released, lambda: released.account.make_deployment({"App": "1.0.0"}), script=script)
    assert f"deployment {deployment}, which stack {released.account.namespace}-Release declares, is not" in message
    assert "revert the commit, or fix forward" in message


def test_a_deleted_deployment_fails(released: Any, script: Any) -> None:
    deployment = released.release("1.0.0")
    greengrass = released.account.aws.client("greengrassv2")

    def delete() -> None:
        greengrass.cancel_deployment(deploymentId=deployment)
        greengrass.delete_deployment(deploymentId=deployment)

    assert "is not the group's active one" in failure(released, delete, script=script)
    with pytest.raises(RefusedError, match="does not exist any more: deploy a release with a change"):
        verify(released.target, first=False, clock=script().clock)


def test_nothing_deployed_is_nothing_to_verify(released: Any, script: Any) -> None:
    with pytest.raises(RefusedError, match=r"-Release is not deployed: run `make deploy` first"):
        verify(released.target, first=False, clock=script().clock)
    released.declare("Release", Other="value")
    with pytest.raises(RefusedError, match=r"-Release has no output DeploymentId"):
        verify(released.target, first=False, clock=script().clock)


def test_canaries_alone_then_everything(make_released: Any, script: Any) -> None:
    released = make_released(**CANARIES)
    canary, other = released.target.environment.thing_names
    first = released.release("1.0.0")
    steps = [lambda: released.run(canary, first, "1.0.0"), *[lambda: released.beat(canary)] * 2]
    verify(released.target, first=True, clock=script(*steps).clock)
    second = released.roll_out("1.0.0")
    steps = [lambda: released.run(other, second, "1.0.0"), *[lambda: released.beat(other)] * 2]
    again = [lambda: released.beat(canary)]
    broken = [lambda: released.beat(canary), lambda: released.run(other, second, "1.0.0", state="BROKEN")]
    message = failure(released, *broken, script=script)
    assert message.startswith(f"{released.account.namespace}-fleet: ")
    assert canary not in message
    released.account.report_state(other, [released.component("1.0.0")])
    verify(released.target, first=False, clock=script(*again, *steps[1:]).clock)


def test_some_silent_devices_may_be_tolerated(make_released: Any, script: Any) -> None:
    names = {"devices": '["a", "b", "c", "d"]'}
    strict, lenient = make_released(**names), make_released(**names, **{"verification.maximum_silent_percentage": "25"})
    for released in (strict, lenient):
        deployment = released.release("1.0.0")
        *present, absent = released.target.environment.thing_names
        for thing in present:
            released.run(thing, deployment, "1.0.0")
        beats = [lambda released=released, things=present: [released.beat(thing) for thing in things]] * 2
        if released is lenient:
            verify(released.target, first=False, clock=script(*beats).clock, wait_seconds=180)
            assert f"  tolerated: {absent}: no core device has ever reported" in "\n".join(released.account.said)
        else:
            assert f"{absent}: no core device has ever reported" in failure(released, *beats, script=script)
