# SPDX-License-Identifier: Apache-2.0
"""Image files, read with suspicion: they come from cameras and from other people."""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from edge_inference.errors import ImageError

MAX_PIXELS = 50_000_000
_FORMATS = ("PNG", "JPEG")
# What converts without losing anything: 1, L and P are grey or colour of less depth, the others would drop a channel.
_CONVERTIBLE = {"L": ("L", "1"), "RGB": ("RGB", "L", "1", "P")}
CHANNELS = tuple(_CONVERTIBLE)

# Pillow's own limit warns before it refuses; ours is checked before any pixel is decoded.
Image.MAX_IMAGE_PIXELS = None


def read_image(path: Path, *, channels: str) -> Image.Image:
    """Read a PNG or JPEG file, upright, in the mode `channels` ("L" or "RGB").

    Raises:
        ImageError: it cannot be read, is no such image, is damaged, larger than `MAX_PIXELS`, or its channels would
            have to be thrown away. The message says which; the caller names the file.
    """
    try:
        # A truncated or odd file warns in some Pillow versions and raises in others: both are the same to us.
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")
            if not file.read(1):
                raise ImageError("the file is empty, expected a PNG or JPEG image; copy it again")
            file.seek(0)
            with Image.open(file, formats=_FORMATS) as image:
                return _converted(image, channels)
    except UnidentifiedImageError:
        raise ImageError("the content is not a PNG or JPEG image, as expected; convert it to one") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageError(f"expected a whole one, it cannot be read as an image: {error}; copy it again") from error


def _converted(image: Image.Image, channels: str) -> Image.Image:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width}x{height} pixels, expected at most {MAX_PIXELS} in all; make it smaller")
    convertible = _CONVERTIBLE[channels]
    if image.mode not in convertible or "transparency" in image.info:
        transparent = " with transparency" if "transparency" in image.info else ""
        raise ImageError(
            f"its channels are {image.mode}{transparent}, the model takes {channels} "
            f"(accepted: {', '.join(convertible)}): convert the image first"
        )
    return ImageOps.exif_transpose(image).convert(channels)
