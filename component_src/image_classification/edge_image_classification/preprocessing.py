# SPDX-License-Identifier: Apache-2.0
"""From an image file to the tensor that a model takes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from edge_image_classification.errors import ConfigurationError, ImageError
from edge_image_classification.values import choice, integer, number, shown, text

MAX_PIXELS = 50_000_000
_FORMATS = ("PNG", "JPEG")
# What converts without losing anything: 1, L and P are grey or colour of less depth, the others would drop a channel.
_CONVERTIBLE = {"L": ("L", "1"), "RGB": ("RGB", "L", "1", "P")}
_DTYPES = ("float32", "uint8")
_LAYOUTS = ("NCHW", "NHWC")
_MAX_SIDE = 4096

# Pillow's own limit warns before it refuses; ours is checked before any pixel is decoded.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class Preprocessing:
    """How a model wants its images: `[preprocessing]` of model.toml.

    Each value of the tensor is `(pixel - mean) * scale`, pixels being 0 to 255.

    Attributes:
        input: name of the model's input tensor.
        layout: "NCHW" or "NHWC"; N is 1.
        width: pixels; an image of another size is resized (bilinear), whatever its proportions.
        height: pixels.
        channels: "L" (grey) or "RGB".
        scale: factor, after the mean is subtracted.
        mean: one number a channel, in pixel units.
        dtype: "float32", or "uint8" with scale 1 and mean 0.
    """

    input: str
    layout: str
    width: int
    height: int
    channels: str
    scale: float
    mean: tuple[float, ...]
    dtype: str

    @classmethod
    def parse(cls, value: object) -> Preprocessing:
        """Check and type the configuration's `Preprocessing`; `scale`, `mean` and `dtype` may be left out.

        Raises:
            ConfigurationError: names the key, what was expected and what came.
        """
        name = "Preprocessing"
        if not isinstance(value, Mapping):
            raise ConfigurationError(f"{name}: expected an object as in model.toml, got {shown(value)}")
        known = set(cls.__dataclass_fields__)
        unknown = sorted(set(map(str, value)) - known)
        missing = sorted(known - {"scale", "mean", "dtype"} - set(value))
        if unknown or missing:
            raise ConfigurationError(
                f"{name}: expected the keys {', '.join(sorted(known))}; "
                f"unknown: {', '.join(unknown) or 'none'}; missing: {', '.join(missing) or 'none'}"
            )
        input_name = text(f"{name}.input", value["input"])
        if not input_name:
            raise ConfigurationError(f"{name}.input: expected the name of the model's input tensor, got a blank")
        channels = choice(f"{name}.channels", value["channels"], tuple(_CONVERTIBLE))
        scale = number(f"{name}.scale", value.get("scale", 1), low=-1e6, high=1e6)
        mean = _mean(f"{name}.mean", value.get("mean"), len(channels))
        dtype = choice(f"{name}.dtype", value.get("dtype", "float32"), _DTYPES)
        if dtype == "uint8" and (scale != 1 or any(mean)):
            raise ConfigurationError(
                f"{name}.dtype: uint8 passes the pixels on as they are, so scale must be 1 and mean 0; "
                f"got scale {scale:g} and mean {shown(mean)}"
            )
        return cls(
            input=input_name,
            layout=choice(f"{name}.layout", value["layout"], _LAYOUTS),
            width=integer(f"{name}.width", value["width"], low=1, high=_MAX_SIDE),
            height=integer(f"{name}.height", value["height"], low=1, high=_MAX_SIDE),
            channels=channels,
            scale=scale,
            mean=mean,
            dtype=dtype,
        )


def _mean(name: str, value: Any, channels: int) -> tuple[float, ...]:
    if value is None:
        return (0.0,) * channels
    if not isinstance(value, (list, tuple)) or len(value) != channels:
        raise ConfigurationError(f"{name}: expected a list of {channels} number(s), one a channel, got {shown(value)}")
    return tuple(number(f"{name}[{index}]", item, low=-1e6, high=1e6) for index, item in enumerate(value))


def to_tensor(pixels: npt.NDArray[np.uint8], preprocessing: Preprocessing) -> npt.NDArray[Any]:
    """Lay out and scale pixels.

    Args:
        pixels: uint8 [height, width, channels], already of the model's size.
        preprocessing: what the model wants.

    Returns:
        float32 or uint8, [1, C, H, W] or [1, H, W, C], C-contiguous.
    """
    tensor: npt.NDArray[Any] = pixels
    if preprocessing.dtype == "float32":
        mean = np.asarray(preprocessing.mean, dtype=np.float32)
        tensor = (pixels.astype(np.float32) - mean) * np.float32(preprocessing.scale)
    if preprocessing.layout == "NCHW":
        tensor = tensor.transpose(2, 0, 1)
    return np.ascontiguousarray(tensor[np.newaxis])


def load_image(path: Path, preprocessing: Preprocessing) -> npt.NDArray[Any]:
    """Read a PNG or JPEG file as the model's input tensor (see `to_tensor`).

    Raises:
        ImageError: it cannot be read, is no such image, is damaged, larger than `MAX_PIXELS`, or its channels would
            have to be thrown away. The message says which; the caller names the file.
    """
    try:
        # A truncated or odd file warns in some Pillow versions and raises in others: both are the same to us.
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")
            if not file.read(1):
                raise ImageError("the file is empty, expected a PNG or JPEG image")
            file.seek(0)
            with Image.open(file, formats=_FORMATS) as image:
                return to_tensor(_pixels(image, preprocessing), preprocessing)
    except UnidentifiedImageError:
        raise ImageError("the content is not a PNG or JPEG image") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageError(f"it cannot be read as an image: {error}") from error


def _pixels(image: Image.Image, preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width}x{height} pixels, expected at most {MAX_PIXELS} in all")
    convertible = _CONVERTIBLE[preprocessing.channels]
    if image.mode not in convertible or "transparency" in image.info:
        transparent = " with transparency" if "transparency" in image.info else ""
        raise ImageError(
            f"its channels are {image.mode}{transparent}, the model takes {preprocessing.channels} "
            f"(accepted: {', '.join(convertible)}): convert the image first"
        )
    upright = ImageOps.exif_transpose(image).convert(preprocessing.channels)
    size = (preprocessing.width, preprocessing.height)
    if upright.size != size:
        upright = upright.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(upright, dtype=np.uint8).reshape(preprocessing.height, preprocessing.width, -1)
