# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import datetime as dt
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_image_classification.postprocessing import classify
from edge_image_classification.task import ImageClassification
from edge_inference.errors import ResultError
from edge_inference.messages import result_message
from edge_inference.task import Result, best

MOMENT = dt.datetime(2024, 4, 26, 14, 30, tzinfo=dt.timezone(dt.timedelta(hours=2)))


@given(hnp.arrays(np.float32, st.integers(1, 20), elements=st.floats(0, 1, width=32)))
def test_results_are_sorted_and_published_from_a_score_of_0_3(scores: np.ndarray[Any, Any]) -> None:
    results = classify({"p": scores[np.newaxis]}, [f"label {index}" for index in range(scores.size)])
    assert sorted(item.label for item in results) == sorted(f"label {index}" for index in range(scores.size))
    assert results[0].label == f"label {scores.argmax()}"
    for item in results:
        assert np.float32(item.score) == scores[int(item.label.split()[1])]
    published = best(results)
    assert published == [item for item in results if item.score >= 0.3][:5]


def test_the_first_output_counts_and_labels_may_be_left_out() -> None:
    outputs: dict[str, Any] = {"p": np.array([[0.1, 0.9]], np.float32), "other": np.zeros((3, 3))}
    assert classify(outputs, ())[0] == Result("1", 0.9)
    quantised = {"p": np.array([3, 250], np.uint8)}
    assert classify(quantised, ("a", "b"))[0] == Result("b", 250)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({}, "without an output tensor"),
        ({"p": np.zeros((1, 3), np.float32)}, "one score for each of the 2 Labels, got 3 scores"),
        ({"p": np.zeros((2, 2), np.float32)}, r"expected the shape \[1, classes\] or \[classes\], got \[2, 2\]"),
        ({"p": np.float32(1).reshape(())}, r"got \[\]"),
        ({"p": np.zeros((1, 0), np.float32)}, r"got \[1, 0\]"),
        ({"p": np.full((1, 2), np.nan, np.float32)}, "got no number among 2 values"),
    ],
)
def test_outputs_that_do_not_fit_are_refused(outputs: dict[str, Any], message: str) -> None:
    with pytest.raises(ResultError, match=message):
        classify(outputs, ("a", "b"))


def test_the_message_is_what_consumers_of_the_sample_component_parse() -> None:
    message = result_message(ImageClassification.inference_type, [Result("7", 0.9987)], MOMENT)
    assert list(json.loads(message).items()) == [
        ("timestamp", "2024-04-26 12:30:00.000000+00:00"),
        ("inference-type", "image-classification"),
        ("inference-description", "Top 5 predictions with score 0.3 or above "),
        ("inference-results", [{"Label": "7", "Score": "0.9987"}]),
    ]


def test_five_longest_labels_fit_into_the_smallest_message_of_a_nucleus() -> None:
    results = [Result("\N{SNOWMAN}" * 200, 0.333333333333)] * 5
    assert len(result_message(ImageClassification.inference_type, results, MOMENT)) < 6500
