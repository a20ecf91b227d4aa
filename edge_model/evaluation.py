# SPDX-License-Identifier: Apache-2.0
"""How good a model is on its own held-out images, through the very code that reads and judges them on a device."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime

from edge_image_classification.task import ImageClassification
from edge_inference.preprocessing import Preprocessing
from edge_inference.task import LEAST_SCORE, Result, Task
from edge_model.errors import ModelCommandError
from edge_object_detection.task import ObjectDetection

BOXES = "boxes.json"
"""Beside held-out images of a detector: image -> list of `{"label": ..., "box": [xmin, ymin, xmax, ymax]}`."""
_LEAST_OVERLAP = 0.5
_SIDES = 4
_SUFFIXES = {".png", ".jpg", ".jpeg"}
_TASKS: dict[str, Task] = {"image-classification": ImageClassification(), "object-detection": ObjectDetection()}


@dataclass(frozen=True)
class Truth:
    """What is in an image: a label, and for detectors where."""

    label: str
    box: tuple[float, ...] = ()


@dataclass(frozen=True)
class Measured:
    """What held-out images say of a model.

    Attributes:
        images: how many there are.
        accuracy: the share of images that are right: the best label, or every object and nothing else.
        mean_average_precision: of a detector, over its classes, at an overlap of a half; None for others.
    """

    images: int
    accuracy: float
    mean_average_precision: float | None = None


def evaluate(
    task: str, model: bytes, images: Path, *, preprocessing: Preprocessing, labels: Sequence[str], threads: int = 1
) -> Measured:
    """Run every image through the model as a device does.

    Args:
        task: "image-classification" (images are named `<anything>-<label>.png`) or "object-detection" (see `BOXES`).
        model: an ONNX file's content.
        images: the folder.
        preprocessing: what becomes of an image.
        labels: one for each class.
        threads: of ONNX Runtime.

    Raises:
        ModelCommandError: there are no images, or they have no labels.
        ImageError, ResultError: an image or the model's answer is not what the task needs.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    truths = _truths(task, images)
    found = []
    for path in truths:
        subject = _TASKS[task].read(path, preprocessing)
        outputs = session.run(names, {preprocessing.input: subject.tensor})
        found.append(subject.results(dict(zip(names, outputs, strict=True)), labels))
    answers = list(zip(truths.values(), found, strict=True))
    right = _all_found if task == "object-detection" else _best_is_right
    accuracy = sum(right(truth, results) for truth, results in answers) / len(answers)
    precision = mean_average_precision(answers) if task == "object-detection" else None
    return Measured(images=len(answers), accuracy=accuracy, mean_average_precision=precision)


def sample_input(task: str, path: Path, preprocessing: Preprocessing) -> Any:
    """The tensor that an image file becomes; for latency and calibration."""
    return _TASKS[task].read(path, preprocessing).tensor


def image_files(folder: Path) -> list[Path]:
    """The held-out images, sorted by name.

    Raises:
        ModelCommandError: there are none.
    """
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in _SUFFIXES)
    if not paths:
        raise ModelCommandError(
            f"{folder}: expected held-out images ({', '.join(sorted(_SUFFIXES))}), found none; "
            "put some there, or correct evaluation.data in model.toml"
        )
    return paths


def _truths(task: str, folder: Path) -> dict[Path, list[Truth]]:
    paths = image_files(folder)
    if task == "image-classification":
        return {path: [Truth(path.stem.rpartition("-")[2])] for path in paths}
    source = folder / BOXES
    try:
        boxes = json.loads(source.read_text(encoding="utf-8"))
        return _placed({path: boxes[path.name] for path in paths})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelCommandError(
            f'{source}: expected a JSON object with a list of {{"label": ..., "box": [xmin, ymin, xmax, ymax]}} for '
            f"each image, got {type(error).__name__}: {error}; write what is in each image"
        ) from error


def _best_is_right(truth: Sequence[Truth], results: Sequence[Result]) -> bool:
    return results[0].label == truth[0].label


def _all_found(truth: Sequence[Truth], results: Sequence[Result]) -> bool:
    results = [result for result in results if result.score >= LEAST_SCORE]
    matched = _matches(truth, results, lambda one, other: one.label == other.label)
    return len(results) == len(truth) and all(matched)


def mean_average_precision(answers: Sequence[tuple[Sequence[Truth], Sequence[Result]]]) -> float:
    """The area under precision over recall, for each class, averaged over the classes that there are.

    Args:
        answers: for each image what is in it, and what was found, the best first.
    """
    labels = sorted({truth.label for truths, _ in answers for truth in truths})
    return sum(_average_precision(label, answers) for label in labels) / len(labels)


def _placed(boxes: Mapping[Path, Sequence[Mapping[str, Any]]]) -> dict[Path, list[Truth]]:
    if not any(boxes.values()):
        raise ValueError("nothing in any image")
    return {path: [_truth(item) for item in items] for path, items in boxes.items()}


def _truth(item: Mapping[str, Any]) -> Truth:
    box = tuple(float(side) for side in item["box"])
    if len(box) != _SIDES:
        raise ValueError(f"a box of {len(box)} numbers, {list(box)}")
    return Truth(item["label"], box)


def _average_precision(label: str, answers: Sequence[tuple[Sequence[Truth], Sequence[Result]]]) -> float:
    ranked: list[tuple[float, bool]] = []
    total = 0
    for truths, results in answers:
        mine = [truth for truth in truths if truth.label == label]
        found = [result for result in results if result.label == label]
        total += len(mine)
        ranked += zip((item.score for item in found), _matches(mine, found, lambda *_: True), strict=True)
    ranked.sort(key=lambda item: -item[0])
    points, hits = [], 0
    for rank, (_, hit) in enumerate(ranked, start=1):
        hits += hit
        points.append((hits / total, hits / rank))
    area = reached = 0.0
    for index, (recall, _) in enumerate(points):
        area += (recall - reached) * max(precision for _, precision in points[index:])
        reached = recall
    return area


def _matches(truth: Sequence[Truth], results: Sequence[Result], fits: Callable[[Truth, Result], bool]) -> list[bool]:
    """Whether each result is one of the truths; each of them counts once."""
    left, matched = list(truth), []
    for result in results:
        box = json.loads(result.boundaries or "[]")
        best = max((one for one in left if fits(one, result)), key=lambda one: overlap(one.box, box), default=None)
        hit = best is not None and overlap(best.box, box) >= _LEAST_OVERLAP
        if hit and best is not None:
            left.remove(best)
        matched.append(hit)
    return matched


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes, each xmin, ymin, xmax, ymax."""
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    union = sum(areas) - width * height
    return width * height / union if union else 0.0
