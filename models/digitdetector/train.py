# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: INP001 - a folder of models holds data, it is no package
"""Train the digit detector again and write everything that stands beside this file.

Run it from the root of the repository: `python -m models.digitdetector.train` (with the source roots on PYTHONPATH, as
the Makefile has them). It needs the development requirements.

A scene is a black canvas of 48x48 pixels with one to five of the digits that models/digits is made of, at random places
that do not touch. The detector looks at every place through a window of the digits' size: a perceptron of two layers,
which says which digit stands exactly there, or that none does. Written as convolutions it looks at all places at once.
Then the best of what overlaps is kept (NonMaxSuppression), and the outputs get the form of GluonCV's detectors.
"""

from __future__ import annotations

import json
import logging
import shutil
import tomllib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper
from PIL import Image
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from edge_inference.preprocessing import Preprocessing
from edge_model.evaluation import BOXES, Measured, evaluate
from models.digits.train import IR_VERSION, OPSET, held_out_split

SEED = 0
SIDE = 48  # of a scene
WINDOW = 8  # of a digit
PLACES = SIDE - WINDOW + 1  # in each direction
CLASSES = 10
BACKGROUND = CLASSES
MOST = 5  # in a scene: as many as messages name
GAP = 2  # pixels between two digits, so that no window sees a whole one and a half
FOUND = 16  # places in the outputs
LEAST_SCORE = 0.3
OVERLAP = 0.2
_ROUNDS = 3
_SMALLEST_WEIGHT = 1e-10
_LOG = logging.getLogger(__name__)

Scene = tuple[npt.NDArray[np.uint8], list[tuple[int, int, int]]]
"""Pixels [SIDE, SIDE], and label, x and y of each digit."""

_PREPROCESSING: dict[str, Any] = {
    "input": "image",
    "layout": "NCHW",
    "width": SIDE,
    "height": SIDE,
    "channels": "L",
    "scale": 1 / 240,
    "mean": [0.0],
    "dtype": "float32",
}

_MODEL_TOML = """\
# SPDX-License-Identifier: Apache-2.0
# Written by train.py.
name = "digitdetector"
version = "1.0"
description = "Hand-written digits in scenes of 48x48 grey pixels: a perceptron at every place"
task = "object-detection"
files = ["model.onnx", "labels.txt"] # what the package holds
labels = "labels.txt" # one a line, in the order of the class ids

[preprocessing] # value of the input tensor = (pixel - mean) * scale, pixels being 0 to 255
input = "image"
layout = "NCHW"
width = 48
height = 48
channels = "L"
scale = {scale!r} # 1 / 240: a pixel is 15 times the data's 0 to 16
mean = [0.0]
dtype = "float32"

[evaluation] # measured by train.py: image file, component's code, ONNX Runtime
data = "held_out" # scenes of digits that were not seen in training, with boxes.json
images = {images}
accuracy = {accuracy} # every digit found where it is, and nothing else
mean_average_precision = {precision} # over the classes, at an overlap of a half
"""


def make_scenes(digits: npt.NDArray[np.uint8], labels: npt.NDArray[Any], generator: np.random.Generator) -> list[Scene]:
    """Place digits on canvases, each digit once.

    Args:
        digits: uint8 [N, 8, 8].
        labels: int64 [N].
        generator: of places and numbers.
    """
    scenes, left = [], list(range(len(digits)))
    while left:
        pixels = np.zeros((SIDE, SIDE), np.uint8)
        placed: list[tuple[int, int, int]] = []
        for index in left[: int(generator.integers(1, MOST + 1))]:
            x, y = _free_place(placed, generator)
            pixels[y : y + WINDOW, x : x + WINDOW] = digits[index]
            placed.append((int(labels[index]), x, y))
        left = left[len(placed) :]
        scenes.append((pixels, placed))
    return scenes


def _free_place(placed: list[tuple[int, int, int]], generator: np.random.Generator) -> tuple[int, int]:
    while True:  # five digits cover a small part of a scene
        x, y = (int(side) for side in generator.integers(0, PLACES, 2))
        if all(max(abs(x - other_x), abs(y - other_y)) >= WINDOW + GAP for _, other_x, other_y in placed):
            return x, y


def _windows(scene: Scene) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """All windows of a scene [PLACES * PLACES, 64], and their classes; -1: a pixel beside a digit, neither nor."""
    pixels, placed = scene
    views = np.lib.stride_tricks.sliding_window_view(pixels, (WINDOW, WINDOW))
    classes = np.full((PLACES, PLACES), BACKGROUND, np.int64)
    for label, x, y in placed:
        classes[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] = -1
        classes[y, x] = label
    return views.reshape(-1, WINDOW * WINDOW), classes.reshape(-1)


def fit(scenes: list[Scene], preprocessing: Preprocessing, generator: np.random.Generator) -> onnx.ModelProto:
    """Train, and write as ONNX: `image` float32 [1, 1, 48, 48] to class ids, scores and boxes.

    Trained again with the places where it was wrong, for some rounds.
    """
    pairs = [_windows(scene) for scene in scenes]
    inputs = np.concatenate([windows for windows, _ in pairs]).astype(np.float32) * np.float32(preprocessing.scale)
    classes = np.concatenate([classes for _, classes in pairs])
    digits = np.flatnonzero((classes >= 0) & (classes < BACKGROUND))
    background = np.flatnonzero((classes == BACKGROUND) & inputs.any(axis=1))
    chosen = generator.choice(background, 6 * len(digits), replace=False)
    classifier = MLPClassifier((96,), alpha=1e-3, max_iter=40, random_state=SEED, warm_start=True)
    for _ in range(_ROUNDS):
        rows = np.concatenate([digits, chosen])
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):  # so many iterations are meant
            classifier.fit(inputs[rows], classes[rows])
        scores = classifier.predict_proba(inputs[background])[:, :BACKGROUND].max(axis=1)
        chosen = np.union1d(chosen, background[scores > LEAST_SCORE / 2])
    return _as_onnx(classifier, preprocessing)


def _as_onnx(classifier: MLPClassifier, preprocessing: Preprocessing) -> onnx.ModelProto:
    first, second = (
        np.where(np.abs(weights) < _SMALLEST_WEIGHT, 0, weights).astype(np.float32) for weights in classifier.coefs_
    )
    hidden, bias = (weights.astype(np.float32) for weights in classifier.intercepts_)
    corners = np.mgrid[0:PLACES, 0:PLACES].reshape(2, -1).T.astype(np.float32)  # y, x
    x_y = corners[:, ::-1]
    constants = {
        "window_weights": first.T.reshape(-1, 1, WINDOW, WINDOW),
        "window_bias": hidden,
        "class_weights": second.T.reshape(CLASSES + 1, -1, 1, 1),
        "class_bias": bias,
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "classes": np.array([CLASSES], np.int64),
        "found": np.array([FOUND], np.int64),
        "by_class": np.array([1, CLASSES, -1], np.int64),
        "flat": np.array([-1], np.int64),
        "column": np.array([1, FOUND, 1], np.int64),
        "columns": np.array([1, FOUND, 4], np.int64),
        "place_column": np.array(2, np.int64),
        "y_x_boxes": np.concatenate([corners, corners + WINDOW], axis=1)[np.newaxis],
        "x_y_boxes": np.concatenate([x_y, x_y + WINDOW], axis=1),
        "overlap": np.array([OVERLAP], np.float32),
        "least_score": np.array([LEAST_SCORE], np.float32),
        "nothing": np.full(FOUND, -1, np.float32),
        "nowhere": np.full((FOUND, 4), -1, np.float32),
    }
    node = helper.make_node
    nodes = [
        node("Conv", [preprocessing.input, "window_weights", "window_bias"], ["hidden"]),
        node("Relu", ["hidden"], ["active"]),
        node("Conv", ["active", "class_weights", "class_bias"], ["logits"]),
        node("Softmax", ["logits"], ["probabilities"], axis=1),
        node("Slice", ["probabilities", "zero", "classes", "one"], ["of_digits"]),
        node("Reshape", ["of_digits", "by_class"], ["per_class"]),
        node("ReduceMax", ["per_class"], ["best_scores"], axes=[1]),
        node("ArgMax", ["per_class"], ["best_classes"], axis=1),
        node("NonMaxSuppression", ["y_x_boxes", "best_scores", "found", "overlap", "least_score"], ["kept"]),
        node("Gather", ["kept", "place_column"], ["places"], axis=1),
    ]
    for output, source, nothing, shape in (
        ("class_ids", "best_classes", "nothing", "column"),
        ("scores", "best_scores", "nothing", "column"),
        ("bounding_boxes", "x_y_boxes", "nowhere", "columns"),
    ):
        table = source
        if source != "x_y_boxes":
            nodes.append(node("Reshape", [source, "flat"], [f"{source}_flat"]))
            table = f"{source}_flat"
        nodes.append(node("Gather", [table, "places"], [f"{output}_found"]))
        nodes.append(node("Cast", [f"{output}_found"], [f"{output}_real"], to=onnx.TensorProto.FLOAT))
        nodes.append(node("Concat", [f"{output}_real", nothing], [f"{output}_filled"], axis=0))
        nodes.append(node("Slice", [f"{output}_filled", "zero", "found", "zero"], [f"{output}_cut"]))
        nodes.append(node("Reshape", [f"{output}_cut", shape], [output]))
    float32 = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "digitdetector",
        [helper.make_tensor_value_info(preprocessing.input, float32, [1, 1, SIDE, SIDE])],
        [
            helper.make_tensor_value_info("class_ids", float32, [1, FOUND, 1]),
            helper.make_tensor_value_info("scores", float32, [1, FOUND, 1]),
            helper.make_tensor_value_info("bounding_boxes", float32, [1, FOUND, 4]),
        ],
        initializer=[numpy_helper.from_array(value.copy(), name) for name, value in constants.items()],
    )
    # Nothing of the tools' versions goes into the file: they change, the model does not.
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="edge-manager"
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def train() -> tuple[onnx.ModelProto, list[Scene]]:
    """Train on the digits that models/digits trains on.

    Returns:
        The model, and scenes of the digits that it has not seen.
    """
    digits, held_out, labels, held_out_labels = held_out_split()
    generator = np.random.default_rng(SEED)
    scenes = make_scenes(digits, labels, generator)
    model = fit(scenes, Preprocessing.parse(_PREPROCESSING), generator)
    return model, make_scenes(held_out, held_out_labels, np.random.default_rng(SEED + 1))


def write(directory: Path) -> Measured:
    """Train and write model.onnx, labels.txt, held_out/ and model.toml."""
    model, scenes = train()
    (directory / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    labels = [str(digit) for digit in range(CLASSES)]
    (directory / "labels.txt").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")

    images = directory / "held_out"
    shutil.rmtree(images, ignore_errors=True)
    images.mkdir()
    boxes = {}
    for number, (pixels, placed) in enumerate(scenes):
        name = f"{number:04d}.png"
        Image.fromarray(pixels).save(images / name, optimize=True)
        boxes[name] = [{"label": str(label), "box": [x, y, x + WINDOW, y + WINDOW]} for label, x, y in placed]
    lines = (f"{json.dumps(name)}: {json.dumps(truth)}" for name, truth in boxes.items())
    (images / BOXES).write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")

    preprocessing = Preprocessing.parse(_PREPROCESSING)
    content = (directory / "model.onnx").read_bytes()
    measured = evaluate("object-detection", content, images, preprocessing=preprocessing, labels=labels)
    toml = _MODEL_TOML.format(
        scale=preprocessing.scale,
        images=measured.images,
        accuracy=round(measured.accuracy, 4),
        precision=round(measured.mean_average_precision or 0, 4),
    )
    if tomllib.loads(toml)["preprocessing"] != _PREPROCESSING:
        raise ValueError("model.toml would not say how the model was trained")
    (directory / "model.toml").write_text(toml, encoding="utf-8")
    return measured


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    _LOG.info("held-out scenes: %s", write(Path(__file__).parent))
