# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from edge_image_classification.preprocessing import load_image
from edge_inference.preprocessing import Preprocessing
from models.digits import train

DIRECTORY = Path(train.__file__).parent


@pytest.fixture(scope="module")
def model() -> dict[str, Any]:
    return tomllib.loads((DIRECTORY / "model.toml").read_text(encoding="utf-8"))


def test_measured_accuracy_is_what_the_files_give(model: dict[str, Any]) -> None:
    preprocessing = Preprocessing.parse(model["preprocessing"])
    images, accuracy = train.evaluate(DIRECTORY / "model.onnx", DIRECTORY / "held_out", preprocessing)
    assert (images, round(accuracy, 4)) == (model["evaluation"]["images"], model["evaluation"]["accuracy"])
    assert images == train.HELD_OUT
    assert accuracy >= 0.96


def test_images_hold_the_held_out_data_exactly(model: dict[str, Any]) -> None:
    training, held_out, _, labels = train.held_out_split()
    names = [f"{number:04d}-{label}.png" for number, label in enumerate(labels)]
    assert sorted(path.name for path in (DIRECTORY / "held_out").iterdir()) == names
    for name, pixels in zip(names, held_out, strict=True):
        with Image.open(DIRECTORY / "held_out" / name) as image:
            assert (image.mode, image.size) == ("L", (8, 8))
            np.testing.assert_array_equal(np.asarray(image), pixels)
    assert len(training) + len(held_out) == 1797
    tensor = load_image(DIRECTORY / "held_out" / names[0], Preprocessing.parse(model["preprocessing"]))
    expected = held_out[0].astype(np.float32) * np.float32(model["preprocessing"]["scale"])
    np.testing.assert_array_equal(tensor, expected[np.newaxis, np.newaxis])


def test_training_again_gives_the_same_model_but_for_rounding(model: dict[str, Any]) -> None:
    preprocessing = Preprocessing.parse(model["preprocessing"])
    training, held_out, labels, _ = train.held_out_split()
    again = train.fit(training, labels, preprocessing).SerializeToString()
    inputs = (held_out.astype(np.float32) * np.float32(preprocessing.scale))[:, np.newaxis]
    predicted = [
        onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {"image": inputs})[0]
        for content in (again, (DIRECTORY / "model.onnx").read_bytes())
    ]
    # Sums are rounded as the processor and the number of free cores have it, and training carries that on: a digit that
    # lies between two may change sides, and no more than that.
    agreement = float((predicted[0].argmax(axis=1) == predicted[1].argmax(axis=1)).mean())
    assert agreement >= 0.99
    np.testing.assert_allclose(np.mean(predicted[0] - predicted[1], axis=0), 0, atol=0.01)


def test_the_oldest_runtime_of_a_device_can_read_it(model: dict[str, Any]) -> None:
    content = onnx.load(DIRECTORY / "model.onnx")
    assert content.ir_version <= 9
    assert [(item.domain, item.version <= 17) for item in content.opset_import] == [("", True)]
    assert [item.name for item in content.graph.input] == [model["preprocessing"]["input"]]
    assert [item.name for item in content.graph.output] == ["probabilities"]


def test_the_package_holds_the_model_and_a_label_for_each_class(model: dict[str, Any]) -> None:
    assert all((DIRECTORY / name).is_file() for name in model["files"])
    assert model["labels"] in model["files"]
    assert (DIRECTORY / model["labels"]).read_text(encoding="utf-8").split() == [str(digit) for digit in range(10)]
