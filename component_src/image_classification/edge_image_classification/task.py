# SPDX-License-Identifier: Apache-2.0
"""Image classification: what an image shows, as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from edge_image_classification.postprocessing import classify
from edge_image_classification.preprocessing import load_image
from edge_inference.preprocessing import Preprocessing
from edge_inference.task import Result


@dataclass(frozen=True)
class ClassifiedImage:
    """See `Subject`."""

    tensor: npt.NDArray[Any]

    def results(self, outputs: Mapping[str, npt.NDArray[Any]], labels: Sequence[str]) -> list[Result]:
        """See `Subject`: one result for each class."""
        return classify(outputs, labels)


class ImageClassification:
    """See `Task`."""

    inference_type = "image-classification"
    model_name = "digits"
    topic = "gg/sageMakerEdgeManager/image-classification"

    def read(self, path: Path, preprocessing: Preprocessing) -> ClassifiedImage:
        """See `Task`."""
        return ClassifiedImage(load_image(path, preprocessing))

    def summary(self, results: Sequence[Result]) -> Mapping[str, object]:
        """See `Task`: the best class."""
        return {"label": results[0].label, "score": results[0].score}
