# SPDX-License-Identifier: Apache-2.0
"""The real component with the real agent, over their real sockets."""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Device = Any  # the class stands in conftest.py, which tests cannot import
    Eventually = Callable[..., None]

OWN, AGENT = "dev.com.edgemanager.ImageClassification", "dev.com.edgemanager.Agent"
TOPIC = "gg/sageMakerEdgeManager/image-classification"


def test_a_pass_predicts_captures_and_publishes_each_image_and_a_stop_unloads(
    device: Device, eventually: Eventually
) -> None:
    names = device.add_images(40)
    (device.images / "0000-empty.png").touch()
    (device.images / "0001-text.jpg").write_text("no image", encoding="utf-8")
    (device.images / os.fsdecode(b"0002-\xff.png")).touch()
    (device.images / "notes.txt").write_text("no image, and not called one", encoding="utf-8")
    device.start_agent()
    component = device.start()
    eventually(lambda: component.events("pass_finished"))

    predictions = component.events("prediction")
    assert [line["image"] for line in predictions] == names
    right = sum(line["label"] == line["image"].split("-")[1].split(".")[0] for line in predictions)
    assert right >= 38
    (finished,) = component.events("pass_finished")
    assert {**finished, "time": None, "seconds": 0} == {
        "time": None,
        "level": "INFO",
        "event": "pass_finished",
        "images": 40,
        "skipped": 3,
        "captures_lost": 0,
        "publishes_failed": 0,
        "seconds": 0,
    }
    skipped = {line["image"]: line["error"] for line in component.events("image_skipped")}
    assert skipped == {
        "0000-empty.png": "the file is empty, expected a PNG or JPEG image; copy it again",
        "0001-text.jpg": "the content is not a PNG or JPEG image, as expected; convert it to one",
        "0002-\udcff.png": "the file is empty, expected a PNG or JPEG image; copy it again",
    }
    assert [topic for topic, _ in device.published] == [TOPIC] * 40
    for (_, message), line in zip(device.published, predictions, strict=True):
        if line["score"] >= 0.3:
            assert message["inference-results"][0] == {"Label": line["label"], "Score": str(line["score"])}
    eventually(lambda: len(device.captures()) == 40)
    records = {record["eventMetadata"]["eventId"]: record for record in device.captures()}
    assert records.keys() == {line["capture_id"] for line in predictions}
    (item,) = next(iter(records.values()))["deviceFleetInputs"]
    assert (item["name"], item["observedContentType"]) == ("image", "Tensor[FLOAT32; 1, 1, 8, 8]")

    assert device.loaded() == ["digits"]
    assert component.stop() == 0
    assert device.loaded() == []
    assert component.events("component_stopped")


def test_the_agent_killed_amid_a_pass_costs_no_image_and_doubles_none(device: Device, eventually: Eventually) -> None:
    names = device.add_images(200)
    agent = device.start_agent()
    component = device.start()
    for reached in (20, 90):
        eventually(lambda count=reached: len(component.events("prediction")) >= count)
        agent.stop(signal.SIGKILL)
        eventually(lambda: component.events("agent_lost"))
        agent = device.start_agent()
    eventually(lambda: component.events("pass_finished"), seconds=60)

    predictions = component.events("prediction")
    assert [line["image"] for line in predictions] == names
    assert len(component.events("model_ready")) >= 3
    assert [item["captures_lost"] for item in component.events("pass_finished")] == [0]
    eventually(lambda: len(device.captures()) >= 200)
    captures = Counter(record["eventMetadata"]["eventId"] for record in device.captures())
    assert captures == Counter(line["capture_id"] for line in predictions)
    assert len(device.published) == 200


def test_a_changed_configuration_is_taken_over_and_a_wrong_one_is_not(device: Device, eventually: Eventually) -> None:
    names = device.add_images(3)
    device.start_agent()
    component = device.start()
    eventually(lambda: component.events("pass_finished"))

    # The interval is an hour; what is to be looked at changes, and is looked at at once.
    device.nucleus.configure(OWN, ImageName=names[1], PublishResultsOnTopic="other/topic")
    eventually(lambda: len(component.events("pass_finished")) == 2)
    assert component.events("prediction")[-1]["image"] == names[1]
    assert device.published[-1][0] == "other/topic"

    device.nucleus.configure(OWN, InferenceInterval="soon")
    eventually(lambda: component.events("configuration_refused"))
    assert 'got "soon"' in component.events("configuration_refused")[0]["error"]
    device.nucleus.configure(OWN, InferenceInterval="0", ImageName="absent.png", PublishResultsOnTopic="")
    eventually(lambda: len(component.events("pass_finished")) >= 5)
    assert "No such file" in component.events("image_skipped")[-1]["error"]

    # The agent moves to another socket: its configuration is watched too.
    assert len(component.events("model_ready")) == 1
    device.socket = device.socket.with_name("moved.sock")
    device.start_agent(LocalDataRootPath=str(device.images.parent / "moved"))
    device.nucleus.configure(OWN, ImageName=names[2])
    device.nucleus.configure(AGENT, UnixSocketName=str(device.socket))
    eventually(lambda: len(component.events("model_ready")) == 2)
    assert device.loaded() == ["digits"]
    published = len(device.published)
    eventually(lambda: component.events("prediction")[-1]["image"] == names[2])
    assert len(device.published) == published == 4
    assert component.stop() == 0


def test_an_agent_that_comes_late_or_elsewhere_is_waited_for(device: Device, eventually: Eventually) -> None:
    device.add_images(2)
    device.nucleus.configure(AGENT, UnixSocketName="/nonexistent/agent.sock")
    component = device.start()
    eventually(lambda: component.events("component_ready"))
    device.nucleus.configure(AGENT, UnixSocketName=str(device.socket))
    device.start_agent()
    eventually(lambda: component.events("pass_finished"))
    assert len(component.events("prediction")) == 2


def test_a_stop_while_no_agent_is_there_is_quick_and_clean(device: Device, eventually: Eventually) -> None:
    device.add_images(2)
    component = device.start()
    eventually(lambda: component.events("component_ready"))
    assert component.stop() == 0
    assert component.events("component_stopped")
    assert not component.events("component_stopped_by_force")


def test_a_stop_while_the_agent_hangs_is_kept_within_what_a_nucleus_grants(
    device: Device, eventually: Eventually
) -> None:
    device.add_images(2)
    device.nucleus.configure(OWN, InferenceInterval="0")
    agent = device.start_agent()
    component = device.start()
    eventually(lambda: component.events("pass_finished"))
    agent.popen.send_signal(signal.SIGSTOP)
    assert component.stop() == 0  # fails after 15 s
    assert component.events("component_stopping")


def test_a_message_that_is_refused_is_counted_and_a_nucleus_that_restarts_is_found_again(
    device: Device, eventually: Eventually
) -> None:
    device.add_images(3)
    device.nucleus.service.refuse_publishing = True
    device.nucleus.configure(OWN, InferenceInterval="0.2")
    device.start_agent()
    component = device.start()
    eventually(lambda: component.events("pass_finished"))
    assert component.events("pass_finished")[0]["publishes_failed"] == 3
    assert "UnauthorizedError: the policy does not allow this topic" in component.events("publish_failed")[0]["error"]

    device.nucleus.service.refuse_publishing = False
    eventually(lambda: device.published)
    device.nucleus.close()
    failures = len(component.events("publish_failed"))
    eventually(lambda: len(component.events("publish_failed")) > failures)
    device.nucleus.open()
    published = len(device.published)
    eventually(lambda: len(device.published) > published)
    # What it watched, it watches again.
    device.nucleus.configure(OWN, PublishResultsOnTopic="after/restart")
    eventually(lambda: device.published[-1][0] == "after/restart")


def test_captures_can_be_switched_off_and_samples_are_there(device: Device, eventually: Eventually) -> None:
    device.nucleus.configure(OWN, CaptureData="false", ImageDirectory="")
    device.start_agent()
    component = device.start()
    eventually(lambda: component.events("pass_finished"))
    predictions = component.events("prediction")
    assert sorted(line["label"] for line in predictions) == [str(digit) for digit in range(10)]
    assert {line["capture_id"] for line in predictions} == {None}
    assert device.captures() == []


def test_an_altered_package_is_not_used_until_it_is_mended(device: Device, eventually: Eventually) -> None:
    device.add_images(1)
    labels = device.model / "labels.txt"
    content = labels.read_bytes()
    labels.write_bytes(content[::-1])
    device.start_agent()
    component = device.start()
    eventually(lambda: component.events("model_load_failed"))
    assert "FAILED_PRECONDITION" in component.events("model_load_failed")[0]["error"]
    assert component.events("prediction") == []
    labels.write_bytes(content)
    eventually(lambda: component.events("prediction"))


@pytest.mark.parametrize(
    ("component", "parameters", "error"),
    [
        (OWN, {"ModelPath": ""}, "ModelPath: expected the directory of the model's package"),
        (OWN, {"EdgeManagerComponent": "absent"}, "absolute path in the configuration of absent"),
        (AGENT, {"UnixSocketName": "/" + "x" * 200}, "UnixSocketName: socket path"),
    ],
)
def test_a_wrong_configuration_at_the_start_is_refused_by_name(
    device: Device, component: str, parameters: dict[str, str], error: str
) -> None:
    device.nucleus.configure(component, **parameters)
    process = device.start()
    assert process.popen.wait(timeout=30) == 1
    assert error in process.events("component_refused")[0]["error"]


def test_outside_of_a_nucleus_it_says_what_it_needs(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.nucleus.server, "path", "")
    process = device.start()
    assert process.popen.wait(timeout=30) == 1
    assert "started by a Greengrass nucleus" in process.events("component_refused")[0]["error"]
