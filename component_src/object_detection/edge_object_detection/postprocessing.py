# SPDX-License-Identifier: Apache-2.0
"""From a detector's output tensors to labels with scores and places."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_inference.errors import ResultError
from edge_inference.task import Result
from edge_object_detection.preprocessing import Frame

_OUTPUTS = (("class ids", 1), ("scores", 1), ("boxes", 4))


def detect(outputs: Mapping[str, npt.NDArray[Any]], labels: Sequence[str], frame: Frame) -> list[Result]:
    """Read what was found in one image, the best first.

    The model has sorted out what overlaps; its first three outputs are those of GluonCV's detectors, which AWS's sample
    used: class ids [1, N, 1], scores [1, N, 1] and boxes [1, N, 4]. A box is xmin, ymin, xmax, ymax in pixels of the
    model's input. A class id below 0 fills a place where nothing was found.

    Args:
        outputs: the model's outputs, in its order.
        labels: one for each class; none of them shows the index of the class.
        frame: where the image lies in the model's input.

    Returns:
        By falling score. The boundaries are a JSON list, [xmin, ymin, xmax, ymax] in pixels of the image.

    Raises:
        ResultError: there are fewer outputs or other shapes, a class without a label, or a value that is no number.
    """
    class_ids, scores, boxes = _read(outputs)
    results = []
    for index in np.argsort(-scores.astype(np.float64), kind="stable"):
        class_id = int(class_ids[index])
        if class_id < 0:
            continue
        if labels and class_id >= len(labels):
            raise ResultError(
                f"class {class_id} was found, expected one of the {len(labels)} Labels; "
                "is ModelPath the model that Labels belong to?"
            )
        results.append(
            Result(
                label=labels[class_id] if labels else str(class_id),
                score=float(str(scores[index])),
                boundaries=json.dumps(frame.to_image(boxes[index])),
            )
        )
    return results


def _read(outputs: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    """The three outputs, [N], [N] and [N, 4]."""
    found = list(outputs.items())[: len(_OUTPUTS)]
    if len(found) < len(_OUTPUTS):
        raise ResultError(
            f"expected the outputs class ids, scores and boxes, got {', '.join(outputs) or 'none'}; is it a detector?"
        )
    count = found[1][1].size
    read = []
    for (name, tensor), (what, width) in zip(found, _OUTPUTS):
        if tensor.size != count * width or tensor.shape[-1:] != (width,):
            raise ResultError(
                f"output {name}: expected {what} [1, {count}, {width}], got {list(tensor.shape)}; is it a detector?"
            )
        if not np.isfinite(tensor).all():
            raise ResultError(f"output {name}: expected {what}, got a value that is no number")
        read.append(tensor.reshape((count,) if width == 1 else (count, width)))
    return read
