# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from edge_constructs.model_folder import ModelFolder, load_model_folder
from edge_inference.preprocessing import Preprocessing
from edge_model.evaluation import BOXES, evaluate
from models.digitdetector import train
from models.digits.train import held_out_split

DIRECTORY = Path(train.__file__).parent
CONTENT = (DIRECTORY / "model.onnx").read_bytes()


@pytest.fixture(scope="module")
def model() -> ModelFolder:
    return load_model_folder(DIRECTORY)


def test_measured_accuracy_is_what_the_files_give(model: ModelFolder) -> None:
    preprocessing = Preprocessing.parse(vars(model.preprocessing))
    images = DIRECTORY / model.evaluation.data
    measured = evaluate(model.task, CONTENT, images, preprocessing=preprocessing, labels=model.label_list)
    assert measured.images == model.evaluation.images
    assert round(measured.accuracy, 4) == model.evaluation.accuracy
    assert round(measured.mean_average_precision or 0, 4) == model.evaluation.mean_average_precision
    assert (model.evaluation.mean_average_precision or 0) >= 0.9


def test_scenes_hold_the_held_out_digits_where_the_boxes_say() -> None:
    _, held_out, _, labels = held_out_split()
    boxes = json.loads((DIRECTORY / "held_out" / BOXES).read_text(encoding="utf-8"))
    assert sorted(boxes) == sorted(path.name for path in (DIRECTORY / "held_out").glob("*.png"))
    digits = iter(zip(held_out, labels, strict=True))
    for name, truth in boxes.items():
        with Image.open(DIRECTORY / "held_out" / name) as image:
            scene = np.asarray(image)
        rest = scene.copy()
        for item, (pixels, label) in zip(truth, digits, strict=False):
            x, y, right, lower = item["box"]
            assert item["label"] == str(label)
            np.testing.assert_array_equal(scene[y:lower, x:right], pixels)
            rest[y:lower, x:right] = 0
        assert not rest.any()
    assert next(digits, None) is None


def test_the_model_is_small_and_the_oldest_runtime_of_a_device_can_read_it() -> None:
    model = onnx.load_from_string(CONTENT)
    assert len(CONTENT) < 200_000
    assert model.ir_version <= 9
    assert [(item.domain, item.version <= 17) for item in model.opset_import] == [("", True)]
    assert [item.name for item in model.graph.output] == ["class_ids", "scores", "bounding_boxes"]
