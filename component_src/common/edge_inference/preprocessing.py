# SPDX-License-Identifier: Apache-2.0
"""How a model wants its images, and pixels as the tensor that it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_inference.errors import ConfigurationError
from edge_inference.images import CHANNELS
from edge_inference.values import choice, integer, number, shown, text

_DTYPES = ("float32", "uint8")
_LAYOUTS = ("NCHW", "NHWC")
_MAX_SIDE = 4096


@dataclass(frozen=True)
class Preprocessing:
    """How a model wants its images: `[preprocessing]` of model.toml.

    Each value of the tensor is `(pixel - mean) * scale`, pixels being 0 to 255.

    Attributes:
        input: name of the model's input tensor.
        layout: "NCHW" or "NHWC"; N is 1.
        width: pixels; what becomes of an image of another size is the task's to say.
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
        channels = choice(f"{name}.channels", value["channels"], CHANNELS)
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
