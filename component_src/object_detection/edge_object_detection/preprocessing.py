# SPDX-License-Identifier: Apache-2.0
"""From an image file to the tensor that a detector takes, and from the detector's places back to the image's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from edge_inference.images import read_image
from edge_inference.preprocessing import Preprocessing, to_tensor


@dataclass(frozen=True)
class Frame:
    """Where an image lies in the model's input: in its upper left corner, shrunk or enlarged.

    Attributes:
        scale: pixels of the model for one pixel of the image.
        width: of the image, upright, in pixels.
        height: of the image.
    """

    scale: float
    width: int
    height: int

    def to_image(self, box: npt.NDArray[Any]) -> list[float]:
        """Turn [xmin, ymin, xmax, ymax] in the model's pixels into the image's, cut at its edges, to a tenth."""
        limits = (self.width, self.height) * 2
        sides = (float(side) / self.scale for side in box.reshape(-1))
        return [round(min(max(side, 0.0), float(limit)), 1) for side, limit in zip(sides, limits)]


def load_image(path: Path, preprocessing: Preprocessing) -> tuple[npt.NDArray[Any], Frame]:
    """Read a PNG or JPEG file as the model's input tensor (see `to_tensor`).

    Its proportions are kept: it is resized (bilinear) until it fits, and what is left at the right or below is black.

    Returns:
        The tensor, and where the image lies in it.

    Raises:
        ImageError: see `read_image`.
    """
    image = read_image(path, channels=preprocessing.channels)
    scale = min(preprocessing.width / image.width, preprocessing.height / image.height)
    frame = Frame(scale=scale, width=image.width, height=image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    channels = len(preprocessing.channels)
    pixels = np.zeros((preprocessing.height, preprocessing.width, channels), dtype=np.uint8)
    pixels[: size[1], : size[0]] = np.asarray(image, dtype=np.uint8).reshape(size[1], size[0], channels)
    return to_tensor(pixels, preprocessing), frame
