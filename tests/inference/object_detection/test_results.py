# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edge_inference.errors import ImageError, ResultError
from edge_inference.messages import result_message
from edge_inference.preprocessing import Preprocessing
from edge_inference.task import Result, best
from edge_object_detection.postprocessing import detect
from edge_object_detection.preprocessing import Frame, load_image
from edge_object_detection.task import ObjectDetection, SearchedImage

if TYPE_CHECKING:
    from pathlib import Path

WHOLE = Frame(scale=1.0, width=100, height=50)
MOMENT = dt.datetime(2024, 4, 26, 14, 30, tzinfo=dt.timezone(dt.timedelta(hours=2)))
PREPROCESSING = Preprocessing.parse({"input": "x", "layout": "NHWC", "width": 8, "height": 4, "channels": "L"})


def outputs(*found: tuple[float, float, tuple[float, float, float, float]]) -> dict[str, Any]:
    columns = list(zip(*found, strict=True)) if found else [(), (), ()]
    return {
        "ids": np.array(columns[0], np.float32).reshape(1, -1, 1),
        "scores": np.array(columns[1], np.float32).reshape(1, -1, 1),
        "boxes": np.array(columns[2], np.float32).reshape(1, -1, 4),
    }


def test_results_come_by_falling_score_with_places_in_the_images_pixels() -> None:
    answer = outputs((1, 0.5, (2, 2, 4, 4)), (-1, -1, (-1, -1, -1, -1)), (0, 0.75, (-3, 1, 60, 30.04)))
    frame = Frame(scale=0.5, width=100, height=50)
    assert detect(answer, ("a", "b"), frame) == [
        Result("a", 0.75, "[0.0, 2.0, 100.0, 50.0]"),
        Result("b", 0.5, "[4.0, 4.0, 8.0, 8.0]"),
    ]
    assert [item.label for item in detect(answer, (), frame)] == ["0", "1"]


def test_nothing_found_is_an_answer() -> None:
    assert detect(outputs((-1, -1, (0, 0, 0, 0))), ("a",), WHOLE) == []
    assert detect(outputs(), ("a",), WHOLE) == []
    assert ObjectDetection().summary([]) == {"objects": 0, "label": None, "score": None, "boundaries": None}
    assert json.loads(result_message("object-detection", [], MOMENT))["inference-results"] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": np.full((1, 1, 1), 2, np.float32)}, "class 2 was found, expected one of the 2 Labels"),
        ({"boxes": np.zeros((1, 2, 4), np.float32)}, r"output boxes: expected boxes \[1, 1, 4\], got \[1, 2, 4\]"),
        ({"boxes": np.zeros((1, 4, 1), np.float32)}, r"got \[1, 4, 1\]"),
        ({"ids": np.zeros((2,), np.float32)}, r"output ids: expected class ids \[1, 1, 1\], got \[2\]"),
        ({"boxes": np.full((1, 1, 4), np.nan, np.float32)}, "output boxes: .* no number"),
        ({"ids": np.full((1, 1, 1), np.inf, np.float32)}, "output ids: .* no number"),
    ],
)
def test_outputs_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    answer = {**outputs((0, 0.5, (0, 0, 1, 1))), **change}
    with pytest.raises(ResultError, match=message):
        detect(answer, ("a", "b"), WHOLE)


def test_a_classifier_is_no_detector() -> None:
    with pytest.raises(ResultError, match="expected the outputs class ids, scores and boxes, got p; is it a detector"):
        detect({"p": np.ones((1, 10), np.float32)}, (), WHOLE)
    with pytest.raises(ResultError, match="got none"):
        detect({}, (), WHOLE)


@given(st.data())
def test_what_lies_in_the_image_comes_back_where_it_was(data: st.DataObject) -> None:
    width, height = data.draw(st.integers(1, 4000)), data.draw(st.integers(1, 4000))
    scale = min(512 / width, 512 / height)
    x, y = data.draw(st.integers(0, width)), data.draw(st.integers(0, height))
    box = np.array([x * scale, y * scale, width * scale, height * scale], np.float32)
    assert Frame(scale=scale, width=width, height=height).to_image(box) == pytest.approx([x, y, width, height], abs=0.1)


def test_proportions_are_kept_and_the_rest_is_black(tmp_path: Path) -> None:
    path = tmp_path / "tall.png"
    Image.new("L", (4, 8), 100).save(path)
    tensor, frame = load_image(path, PREPROCESSING)
    assert frame == Frame(scale=0.5, width=4, height=8)
    assert tensor.shape == (1, 4, 8, 1)
    assert (tensor[0, :, :2, 0] == 100).all()
    assert (tensor[0, :, 2:, 0] == 0).all()
    Image.new("L", (4000, 1), 9).save(path)  # becomes no less than one pixel high
    assert load_image(path, PREPROCESSING)[0].any(axis=(0, 2, 3)).tolist() == [True, False, False, False]


def test_an_image_of_the_models_size_is_taken_as_it_is(tmp_path: Path) -> None:
    pixels = np.arange(32, dtype=np.uint8).reshape(4, 8)
    Image.fromarray(pixels).save(tmp_path / "same.png")
    tensor, frame = load_image(tmp_path / "same.png", PREPROCESSING)
    np.testing.assert_array_equal(tensor[0, :, :, 0], pixels)
    assert frame.scale == 1


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image", encoding="utf-8")
    with pytest.raises(ImageError, match="not a PNG or JPEG"):
        ObjectDetection().read(tmp_path / "text.png", PREPROCESSING)


def test_the_message_is_what_consumers_of_the_sample_component_parse() -> None:
    results = SearchedImage(np.zeros(1), WHOLE).results(outputs((7, 0.5, (1, 2, 9, 10))), [str(n) for n in range(10)])
    message = result_message(ObjectDetection.inference_type, best(results), MOMENT)
    assert list(json.loads(message).items()) == [
        ("timestamp", "2024-04-26 12:30:00.000000+00:00"),
        ("inference-type", "object-detection"),
        ("inference-description", "Top 5 predictions with score 0.3 or above "),
        ("inference-results", [{"Label": "7", "Score": "0.5", "Boundaries": "[1.0, 2.0, 9.0, 10.0]"}]),
    ]


def test_five_longest_labels_fit_into_the_smallest_message_of_a_nucleus() -> None:
    boundaries = "[40000.1, 40000.1, 50000.1, 50000.1]"
    results = [Result("\N{SNOWMAN}" * 200, 0.3333333432674408, boundaries)] * 5
    # Nucleus lite ends the connection above 10 000 bytes: the message in base64, its topic, and what is around them.
    assert len(base64.b64encode(result_message("object-detection", results, MOMENT))) + 256 + 500 < 10_000
