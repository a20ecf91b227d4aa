# SPDX-License-Identifier: Apache-2.0
"""Components are asked before an update, as by the classic nucleus: with the real client (awsiotsdk), as components."""

from __future__ import annotations

import json
import shlex
import sys
import textwrap
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(60)

PRELUDE = """
import json, queue, time
from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2
def say(**fields): print(json.dumps(fields), flush=True)
client = GreengrassCoreIPCClientV2()
events = queue.Queue()
def defer(deployment, milliseconds):
    try:
        client.defer_component_update(deployment_id=deployment, recheck_after_ms=milliseconds)
    except Exception as error:
        say(refused=type(error).__name__, message=getattr(error, "message", ""))
def subscribe():
    client.subscribe_to_component_updates(on_stream_event=events.put)
    say(subscribed=True)
def following():
    while True:
        event = events.get()
        if event.pre_update_event is not None:
            say(asked=event.pre_update_event.deployment_id, restarts=event.pre_update_event.is_ggc_restarting)
            yield event.pre_update_event.deployment_id
        else:
            say(over=event.post_update_event.deployment_id)
"""


@pytest.fixture(name="asking")
def _asking(make_device: Any) -> Any:
    device = make_device(component_updates=True)
    device.start()
    return device


def add(device: Any, name: str, code: str, version: str = "1.0.0") -> None:
    path = device.root.parent / f"{name}.py"
    path.write_text(PRELUDE + textwrap.dedent(code))
    device.add(name, version, run=f"exec {shlex.quote(sys.executable)} -I {shlex.quote(str(path))}")


def said(device: Any, name: str) -> list[Any]:
    lines = device.log(name).splitlines()
    assert not any(line.startswith("Traceback") for line in lines), device.log(name)
    return [json.loads(line) for line in lines]


def install(device: Any, **code: str) -> None:
    for name, text in code.items():
        add(device, name, text)
    device.add("other", run="exec sleep 60")
    device.deploy_and_wait(dict.fromkeys(code, "1.0.0"))
    device.wait(lambda: all({"subscribed": True} in said(device, name) for name in code))


def test_an_update_waits_until_no_component_puts_it_off(asking: Any) -> None:
    install(
        asking,
        eager="subscribe()\nfor deployment in following(): defer(deployment, 0)",
        busy="""
        subscribe()
        for count, deployment in enumerate(following()):
            say(installed_by_now=count)
            defer(deployment, 200 if count < 2 else 0)
        """,
    )
    details = asking.deploy_and_wait({"eager": "1.0.0", "busy": "1.0.0", "other": "1.0.0"})
    assert details == {"detailed-deployment-status": "SUCCESSFUL"}
    id_ = asking.state()["deployment"]["id"]
    # Both are asked each time, although neither changes; both are told of the end.
    asking.wait(lambda: all({"over": id_} in said(asking, name) for name in ("eager", "busy")))
    for name in ("eager", "busy"):
        questions = [line for line in said(asking, name) if "asked" in line]
        assert questions == [{"asked": id_, "restarts": False}] * 3


def test_the_new_set_is_not_there_before_the_answer(asking: Any) -> None:
    install(
        asking,
        busy="""
        import os
        subscribe()
        for deployment in following():
            defer(deployment, 0 if os.path.exists("ready") else 50)
        """,
    )
    id_ = asking.deploy({"busy": "1.0.0", "other": "1.0.0"})
    asking.wait(lambda: sum("asked" in line for line in said(asking, "busy")) > 3)
    assert asking.component("other") is None
    assert asking.cloud.deployments[id_][0].status == "IN_PROGRESS"
    (asking.root / "work" / "busy" / "ready").touch()
    asking.wait(lambda: asking.cloud.deployments[id_][0].status == "SUCCEEDED")
    assert asking.component("other")["state"] == "RUNNING"


def test_silence_is_consent_after_the_deployments_time(asking: Any) -> None:
    install(
        asking,
        silent="""
        subscribe()
        late = next(following())
        while events.empty(): time.sleep(0.05)  # until it is over
        defer(late, 10000)
        """,
    )
    asking.deploy_and_wait({"silent": "1.0.0", "other": "1.0.0"}, notify_seconds=0.3)
    refused = asking.wait(lambda: [line for line in said(asking, "silent") if "refused" in line])
    assert refused[0]["refused"] == "ServiceError"
    assert "the time to answer is over" in refused[0]["message"]


def test_a_deployment_that_tells_nobody_asks_nobody(asking: Any) -> None:
    install(asking, stubborn="subscribe()\nfor deployment in following(): defer(deployment, 60000)")
    asking.deploy_and_wait({"stubborn": "1.0.0", "other": "1.0.0"}, notify=False)
    assert not [line for line in said(asking, "stubborn") if "asked" in line]


def test_what_is_wrong_is_refused_by_name(asking: Any) -> None:
    install(asking, app='defer("d", 0)\nsubscribe()\ndefer("d", 0)\ndefer("", 0)\ndefer("d", -1)\ntime.sleep(60)')
    refused = asking.wait(
        lambda: r if len(r := [line for line in said(asking, "app") if "refused" in line]) == 4 else 0
    )
    assert [line["refused"] for line in refused] == [
        "InvalidArgumentsError",
        "ServiceError",
        "InvalidArgumentsError",
        "InvalidArgumentsError",
    ]
    assert "component app is not subscribed" in refused[0]["message"]
    assert "nothing was asked" in refused[1]["message"]
    assert "deploymentId: expected a text, found ''" in refused[2]["message"]
    assert "recheckAfterMs: expected a number from 0, found -1" in refused[3]["message"]


def test_a_device_that_stops_waits_for_nobody(asking: Any) -> None:
    install(asking, stubborn="subscribe()\nfor deployment in following(): defer(deployment, 60000)")
    id_ = asking.deploy({"stubborn": "1.0.0", "other": "1.0.0"})
    asking.wait(lambda: [line for line in said(asking, "stubborn") if "asked" in line])
    asking.stop()
    assert asking.cloud.deployments[id_][0].status == "IN_PROGRESS", "it is carried out at the next start"
