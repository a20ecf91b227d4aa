# SPDX-License-Identifier: Apache-2.0
"""From an image file to the tensor that a model takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from edge_inference.images import read_image
from edge_inference.preprocessing import Preprocessing, to_tensor


def load_image(path: Path, preprocessing: Preprocessing) -> npt.NDArray[Any]:
    """Read a PNG or JPEG file as the model's input tensor (see `to_tensor`).

    An image of another size than the model's is resized (bilinear), whatever its proportions.

    Raises:
        ImageError: see `read_image`.
    """
    image = read_image(path, channels=preprocessing.channels)
    size = (preprocessing.width, preprocessing.height)
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    pixels = np.asarray(image, dtype=np.uint8).reshape(preprocessing.height, preprocessing.width, -1)
    return to_tensor(pixels, preprocessing)
