# SPDX-License-Identifier: Apache-2.0
"""From the model's output tensor to labels with scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_inference.errors import ResultError
from edge_inference.task import Result


def classify(outputs: Mapping[str, npt.NDArray[Any]], labels: Sequence[str]) -> list[Result]:
    """Read the scores of one image, the best first.

    Args:
        outputs: the model's outputs; the first one holds a score for each class, [1, classes] or [classes].
        labels: one for each class; none of them shows the index of the class.

    Returns:
        All classes with a score that is a number, by falling score, then by index.

    Raises:
        ResultError: there is no output, it is for more than one image, or there are more or fewer classes than labels.
    """
    if not outputs:
        raise ResultError("the model answered without an output tensor")
    name, tensor = next(iter(outputs.items()))
    if tensor.ndim == 0 or tensor.size == 0 or tensor.size != tensor.shape[-1]:
        raise ResultError(f"output {name}: expected the shape [1, classes] or [classes], got {list(tensor.shape)}")
    scores = tensor.reshape(-1).astype(np.float64)
    if labels and len(labels) != scores.size:
        raise ResultError(
            f"output {name}: expected one score for each of the {len(labels)} Labels, got {scores.size} scores; "
            "is ModelPath the model that Labels belong to?"
        )
    names = labels or [str(index) for index in range(scores.size)]
    order = [int(index) for index in np.argsort(-scores, kind="stable") if not np.isnan(scores[index])]
    if not order:
        raise ResultError(f"output {name}: expected scores, got no number among {scores.size} values")
    return [Result(label=names[index], score=float(str(tensor.reshape(-1)[index]))) for index in order]
