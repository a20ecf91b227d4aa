# SPDX-License-Identifier: Apache-2.0
"""What one inference component does differently from another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from edge_inference.preprocessing import Preprocessing

TOP = 5
LEAST_SCORE = 0.3


@dataclass(frozen=True)
class Result:
    """One thing that the model says of an image.

    Attributes:
        label: what it is.
        score: how sure the model is.
        boundaries: where it is, as consumers read it; None where the task has no places.
    """

    label: str
    score: float
    boundaries: str | None = None


class Subject(Protocol):
    """One image on its way through the model."""

    @property
    def tensor(self) -> npt.NDArray[Any]:
        """What the model is given."""

    def results(self, outputs: Mapping[str, npt.NDArray[Any]], labels: Sequence[str]) -> list[Result]:
        """Read what the model answered, the best first.

        Args:
            outputs: the model's outputs in its order.
            labels: one for each class; none of them shows the index of the class.

        Raises:
            ResultError: the outputs do not fit the task or the labels.
        """


class Task(Protocol):
    """What a component is for.

    Attributes:
        inference_type: the name that messages carry.
        model_name: default of the parameter ModelName.
        topic: default of the parameter PublishResultsOnTopic.
    """

    @property
    def inference_type(self) -> str: ...  # noqa: D102 # see Attributes

    @property
    def model_name(self) -> str: ...  # noqa: D102

    @property
    def topic(self) -> str: ...  # noqa: D102

    def read(self, path: Path, preprocessing: Preprocessing) -> Subject:
        """Read an image file.

        Raises:
            ImageError: it is no image that the model can be given; the caller names the file.
        """

    def summary(self, results: Sequence[Result]) -> Mapping[str, object]:
        """The fields of an image's log line that say what was found."""


def best(results: Sequence[Result]) -> list[Result]:
    """What is published: at most `TOP` results with a score of `LEAST_SCORE` or above."""
    return [item for item in results[:TOP] if item.score >= LEAST_SCORE]
