# SPDX-License-Identifier: Apache-2.0
"""Greengrass IPC with the real client (awsiotsdk), run as a component."""

from __future__ import annotations

import json
import shlex
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from local.core_device.cloud import ComponentRequest

pytestmark = pytest.mark.timeout(60)

ALLOW = {
    "accessControl": {
        "aws.greengrass.ipc.mqttproxy": {
            "app:mqtt:1": {
                "operations": ["aws.greengrass#PublishToIoTCore", "aws.greengrass#SubscribeToIoTCore"],
                "resources": ["allowed/#"],
            }
        },
        "aws.greengrass.ipc.pubsub": {"app:pubsub:1": {"operations": ["*"], "resources": ["local/*"]}},
    }
}
PRELUDE = """
import datetime, json, os, sys, time
from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2
from awsiot.greengrasscoreipc import model
def say(**fields): print(json.dumps(fields), flush=True)
def outcome(function, *args, **kwargs):
    try:
        return function(*args, **kwargs)
    except Exception as error:
        say(refused=type(error).__name__, message=getattr(error, "message", ""))
client = GreengrassCoreIPCClientV2()
"""


@pytest.fixture(name="run")
def _run(device: Any) -> Any:
    """Run Python code as the component `app`, with a client; give the lines that it says until it ends with `done`."""

    def run(code: str, *, defaults: Any = None, wait: bool = True) -> Any:
        script = PRELUDE + textwrap.dedent(code) + "\nsay(done=True)\ntime.sleep(60)\n"
        path = device.root.parent / "component.py"
        path.write_text(script)
        device.add("app", run=f"exec {shlex.quote(sys.executable)} -I {shlex.quote(str(path))}", defaults=defaults)
        device.deploy_and_wait({"app": "1.0.0"})

        def said() -> list[Any]:
            lines = device.log("app").splitlines()
            assert not any(line.startswith("Traceback") for line in lines), device.log("app")
            return [json.loads(line) for line in lines]

        if wait:
            device.wait(lambda: {"done": True} in said())
        return said

    return run


def test_configuration_is_read_by_key_path(run: Any) -> None:
    said = run(
        """
        get = lambda *path: client.get_configuration(key_path=list(path))
        say(all=get().value, component=get().component_name)
        say(scalar=get("Interval").value)
        say(object=get("Nested", "a.B").value)
        outcome(get, "Missing")
        outcome(client.get_configuration, component_name="nobody", key_path=[])
        """,
        defaults={"Interval": "60", "Nested": {"a.B": {"c": ["1"]}}},
    )()
    assert said[0] == {"all": {"Interval": "60", "Nested": {"a.B": {"c": ["1"]}}}, "component": "app"}
    assert said[1] == {"scalar": {"Interval": "60"}}
    assert said[2] == {"object": {"c": ["1"]}}
    assert said[3]["refused"] == said[4]["refused"] == "ResourceNotFoundError"
    assert "'Missing'" in said[3]["message"]
    assert "nobody" in said[4]["message"]


def test_an_update_is_kept_and_told(run: Any, device: Any) -> None:
    said = run(
        """
        heard = []
        _, subscription = client.subscribe_to_configuration_update(
            key_path=[], on_stream_event=lambda event: heard.append(event.configuration_update_event.key_path))
        client.update_configuration(
            key_path=["Nested"], timestamp=datetime.datetime.now(datetime.timezone.utc), value_to_merge={"b": "2"})
        while not heard: time.sleep(0.01)
        say(heard=heard, value=client.get_configuration(key_path=["Nested"]).value)
        subscription.close()
        """,
        defaults={"Nested": {"a": "1"}},
    )()
    assert said[0] == {"heard": [["Nested"]], "value": {"a": "1", "b": "2"}}
    assert json.loads((device.root / "config" / "app.json").read_text()) == {"Nested": {"a": "1", "b": "2"}}


def test_a_component_that_follows_its_configuration_is_not_restarted_by_a_deployment(run: Any, device: Any) -> None:
    said = run(
        """
        client.subscribe_to_configuration_update(
            key_path=["A"], on_stream_event=lambda event: say(heard=event.configuration_update_event.key_path))
        """,
        defaults={"A": "1"},
    )
    pid = device.component("app")["pid"]
    device.deploy_and_wait({"app": ComponentRequest("1.0.0", merge={"A": "2"})})
    device.wait(lambda: {"heard": ["A"]} in said())
    assert device.component("app")["pid"] == pid


def test_messages_to_iot_core_leave_the_device_as_policies_allow(run: Any, device: Any) -> None:
    said = run(
        """
        send = lambda topic: client.publish_to_iot_core(topic_name=topic, qos="1", payload=b'{"a": 1}')
        client.subscribe_to_iot_core(
            topic_name="allowed/+/commands", qos="0",
            on_stream_event=lambda event: say(got=event.message.topic_name, payload=event.message.payload.decode()))
        send("allowed/1")
        outcome(send, "other/1")
        outcome(client.subscribe_to_iot_core, topic_name="other", qos="0", on_stream_event=print)
        """,
        defaults=ALLOW,
    )
    device.wait(lambda: ("allowed/1", {"a": 1}) in device.cloud.published)
    refused = [line for line in said() if "refused" in line]
    assert [line["refused"] for line in refused] == ["UnauthorizedError", "UnauthorizedError"]
    assert "app may not call aws.greengrass#PublishToIoTCore on 'other/1'" in refused[0]["message"]
    device._loop.call_soon_threadsafe(device.device.deliver, "allowed/2/commands", b"go")
    device.wait(lambda: {"got": "allowed/2/commands", "payload": "go"} in said())


def test_the_devices_iot_policy_bounds_what_the_component_may_send(run: Any, device: Any) -> None:
    access = {
        "accessControl": {"aws.greengrass.ipc.mqttproxy": {"app:mqtt:1": {"operations": ["*"], "resources": ["*"]}}}
    }
    run(
        """
        for topic in ("forbidden/1", "allowed/1"):
            client.publish_to_iot_core(topic_name=topic, qos="1", payload=b"1")
        """,
        defaults=access,
    )
    device.wait(lambda: ("allowed/1", 1) in device.cloud.published)
    assert not any(topic == "forbidden/1" for topic, _ in device.cloud.published)


def test_messages_to_iot_core_wait_for_the_network(run: Any, device: Any) -> None:
    run(
        """
        client.get_configuration(key_path=[])
        while not os.path.exists("go"): time.sleep(0.01)
        for number in range(3):
            client.publish_to_iot_core(topic_name="allowed/1", qos="1", payload=str(number).encode())
        """,
        defaults=ALLOW,
        wait=False,
    )
    device.cloud.reachable = False
    (device.root / "work" / "app" / "go").touch()
    device.wait(lambda: '"done": true' in device.log("app"))
    assert not any(topic == "allowed/1" for topic, _ in device.cloud.published)
    device.cloud.reachable = True
    device.wait(lambda: [m for topic, m in device.cloud.published if topic == "allowed/1"] == [0, 1, 2])


def test_components_talk_over_local_topics(run: Any) -> None:
    said = run(
        """
        got = []
        client.subscribe_to_topic(topic="local/#", on_stream_event=got.append)
        client.publish_to_topic(topic="local/a", publish_message=model.PublishMessage(
            json_message=model.JsonMessage(message={"x": 1})))
        client.publish_to_topic(topic="local/b", publish_message=model.PublishMessage(
            binary_message=model.BinaryMessage(message=b"raw")))
        while len(got) < 2: time.sleep(0.01)
        say(json=got[0].json_message.message, binary=got[1].binary_message.message.decode())
        outcome(client.publish_to_topic, topic="elsewhere", publish_message=model.PublishMessage(
            json_message=model.JsonMessage(message={})))
        """,
        defaults=ALLOW,
    )()
    assert said[0] == {"json": {"x": 1}, "binary": "raw"}
    assert said[1]["refused"] == "UnauthorizedError"


def test_what_lite_does_not_have_is_a_service_error(run: Any) -> None:
    said = run(
        """
        outcome(client.list_components)
        outcome(client.get_thing_shadow, thing_name="device-1", shadow_name="x")
        client.update_state(state="RUNNING")
        say(updated=True)
        """
    )()
    assert [line.get("refused") for line in said[:2]] == ["ServiceError", "ServiceError"]
    assert "ListComponents" in said[0]["message"]
    assert said[2] == {"updated": True}


def test_a_message_above_10_000_bytes_costs_the_connection(run: Any) -> None:
    said = run(
        """
        send = lambda size: client.publish_to_iot_core(
            topic_name="allowed/1", qos="1", payload=b'"' + b"x" * size + b'"')
        send(7000)
        say(small=True)
        outcome(send, 8000)
        outcome(client.get_configuration, key_path=[])
        """,
        defaults=ALLOW,
    )()
    assert said[0] == {"small": True}
    assert "refused" in said[1]
    assert "refused" in said[2]


def test_a_wrong_token_is_refused(device: Any) -> None:
    path = device.root.parent / "stranger.py"
    path.write_text(
        "import os\nos.environ['SVCUID'] = 'guessed'\n"
        + PRELUDE.replace("client = GreengrassCoreIPCClientV2()", "outcome(GreengrassCoreIPCClientV2)\nsay(done=True)")
    )
    device.add("app", run=f"{shlex.quote(sys.executable)} -I {shlex.quote(str(path))}")
    device.deploy_and_wait({"app": "1.0.0"})
    device.wait(lambda: '"done"' in device.log("app"))
    assert "refused" in device.log("app")


def test_a_long_root_path_still_gets_a_socket_that_can_be_bound(make_device: Any, tmp_path: Any) -> None:
    device = make_device(root=tmp_path / ("long" * 30))
    device.start()
    device.add("app", run="echo $AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT")
    device.deploy_and_wait({"app": "1.0.0"})
    path = Path(device.wait(lambda: device.log("app").strip()))
    assert path.is_socket()
    assert len(str(path)) < 108
    device.stop()
    assert not path.exists()
    assert not path.parent.exists()
