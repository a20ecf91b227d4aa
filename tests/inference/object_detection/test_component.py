# SPDX-License-Identifier: Apache-2.0
"""The real component with the real agent, over their real sockets; the loop's own behaviour: image_classification."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from edge_inference import configuration
from edge_model.evaluation import overlap
from edge_object_detection.task import ObjectDetection

if TYPE_CHECKING:
    from collections.abc import Callable

    Device = Any  # the class stands in conftest.py, which tests cannot import
    Eventually = Callable[..., None]

ROOT = Path(__file__).parents[3]
BOXES = ROOT / "models" / "digitdetector" / "held_out" / "boxes.json"
OWN = "dev.com.edgemanager.ObjectDetection"
TOPIC = "gg/sageMakerEdgeManager/object-detection"


def found(message: dict[str, Any], truth: list[dict[str, Any]]) -> int:
    """How many objects are named where they are."""
    results = [(item["Label"], json.loads(item["Boundaries"])) for item in message["inference-results"]]
    return sum(
        any(label == one["label"] and overlap(box, one["box"]) >= 0.5 for label, box in results) for one in truth
    )


def test_known_digits_are_found_captured_and_published(detecting_device: Device, eventually: Eventually) -> None:
    device = detecting_device
    names = device.add_images(25)
    Image.new("L", (48, 48)).save(device.images / "black.png")
    with Image.open(device.images / names[0]) as scene:
        scene.resize((96, 96), Image.Resampling.NEAREST).save(device.images / "doubled.png")
    device.start_agent()
    component = device.start()
    eventually(lambda: component.events("pass_finished"))
    predictions = {line["image"]: line for line in component.events("prediction")}
    assert list(predictions) == [*names, "black.png", "doubled.png"]
    assert {topic for topic, _ in device.published} == {TOPIC}
    assert {message["inference-type"] for _, message in device.published} == {"object-detection"}
    messages = dict(zip(predictions, (message for _, message in device.published), strict=True))

    truth = json.loads(BOXES.read_text(encoding="utf-8"))
    digits = sum(len(truth[name]) for name in names)
    assert sum(found(messages[name], truth[name]) for name in names) >= 0.9 * digits
    nothing = predictions["black.png"]
    assert (nothing["objects"], nothing["label"], nothing["boundaries"]) == (0, None, None)
    assert messages["black.png"]["inference-results"] == []
    # Twice as large is the same scene to the model, and its places are told in the pixels of the image.
    doubled = [{**one, "box": [2 * side for side in one["box"]]} for one in truth[names[0]]]
    assert found(messages["doubled.png"], doubled) == found(messages[names[0]], truth[names[0]])
    best = messages[names[0]]["inference-results"][0]
    line = predictions[names[0]]
    assert (line["label"], str(line["score"]), line["boundaries"]) == (best["Label"], best["Score"], best["Boundaries"])

    eventually(lambda: len(device.captures()) == 27)
    outputs = device.captures()[0]["deviceFleetOutputs"]
    assert [item["name"] for item in outputs] == ["class_ids", "scores", "bounding_boxes"]
    assert device.loaded() == ["digitdetector"]
    assert component.stop() == 0
    assert device.loaded() == []


def test_another_models_outputs_skip_the_image_by_name(detecting_device: Device, eventually: Eventually) -> None:
    detecting_device.add_images(1)
    detecting_device.nucleus.configure(OWN, Labels=["only one"])
    detecting_device.start_agent()
    component = detecting_device.start()
    eventually(lambda: component.events("pass_finished"))
    assert "is ModelPath the model that Labels belong to?" in component.events("image_skipped")[0]["error"]


def test_samples_are_there(detecting_device: Device, eventually: Eventually) -> None:
    detecting_device.nucleus.configure(OWN, CaptureData="false", ImageDirectory="")
    detecting_device.start_agent()
    component = detecting_device.start()
    eventually(lambda: component.events("pass_finished"))
    assert len(component.events("prediction")) == 6
    assert all(line["objects"] for line in component.events("prediction"))


def test_defaults_are_those_of_the_recipe() -> None:
    recipe = json.loads((ROOT / "component_src" / "object_detection" / "recipe.json").read_text(encoding="utf-8"))
    default = recipe["ComponentConfiguration"]["DefaultConfiguration"]
    preprocessing = {"input": "image", "layout": "NCHW", "width": 8, "height": 8, "channels": "L"}
    own = {"ModelPath": default["ModelPath"], "Preprocessing": preprocessing}
    agent = {"UnixSocketName": "/run/agent.sock"}
    parsed = [
        configuration.parse(one, agent, task=ObjectDetection(), sample_images=ROOT) for one in ({**default, **own}, own)
    ]
    assert parsed[0] == parsed[1]
    assert configuration.unknown(default) == []
    (policy,) = default["accessControl"]["aws.greengrass.ipc.mqttproxy"].values()
    assert policy["resources"] == [parsed[0].topic] == [TOPIC]


def test_both_components_are_locked_alike() -> None:
    one, other = (ROOT / "component_src" / name for name in ("object_detection", "image_classification"))
    assert (one / "requirements.in").read_bytes() == (other / "requirements.in").read_bytes()
    locked = [(folder / "requirements.txt").read_text(encoding="utf-8") for folder in (one, other)]
    assert locked[0].replace(one.name, "") == locked[1].replace(other.name, "")
