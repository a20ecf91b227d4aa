# SPDX-License-Identifier: Apache-2.0
"""Object detection: what an image shows, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from edge_inference.preprocessing import Preprocessing
from edge_inference.task import LEAST_SCORE, Result
from edge_object_detection.postprocessing import detect
from edge_object_detection.preprocessing import Frame, load_image


@dataclass(frozen=True)
class SearchedImage:
    """See `Subject`."""

    tensor: npt.NDArray[Any]
    frame: Frame

    def results(self, outputs: Mapping[str, npt.NDArray[Any]], labels: Sequence[str]) -> list[Result]:
        """See `Subject`: one result for each thing that was found; none is an answer too."""
        return detect(outputs, labels, self.frame)


class ObjectDetection:
    """See `Task`."""

    inference_type = "object-detection"
    model_name = "digitdetector"
    topic = "gg/sageMakerEdgeManager/object-detection"

    def read(self, path: Path, preprocessing: Preprocessing) -> SearchedImage:
        """See `Task`."""
        tensor, frame = load_image(path, preprocessing)
        return SearchedImage(tensor, frame)

    def summary(self, results: Sequence[Result]) -> Mapping[str, object]:
        """See `Task`: how many things there are, and the best of them."""
        objects = sum(result.score >= LEAST_SCORE for result in results)
        if not results:
            return {"objects": 0, "label": None, "score": None, "boundaries": None}
        return {"objects": objects, **vars(results[0])}
