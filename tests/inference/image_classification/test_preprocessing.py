# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from edge_image_classification.preprocessing import load_image
from edge_inference.errors import ConfigurationError, ImageError
from edge_inference.preprocessing import Preprocessing, to_tensor

if TYPE_CHECKING:
    from pathlib import Path

GREY = {"input": "image", "layout": "NCHW", "width": 8, "height": 8, "channels": "L", "scale": 0.5, "mean": [2.0]}
COLOUR = {"input": "data", "layout": "NHWC", "width": 4, "height": 2, "channels": "RGB", "mean": [1, 2, 3]}
_QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(
    pixels=hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]))),
    layout=st.sampled_from(["NCHW", "NHWC"]),
    scale=st.floats(-10, 10, width=32),
    mean=st.floats(-255, 255, width=32),
)
def test_every_pixel_lands_where_the_layout_says(
    pixels: np.ndarray[Any, Any], layout: str, scale: float, mean: float
) -> None:
    height, width, channels = pixels.shape
    preprocessing = Preprocessing(
        input="x",
        layout=layout,
        width=width,
        height=height,
        channels="L" if channels == 1 else "RGB",
        scale=scale,
        mean=(mean,) * channels,
        dtype="float32",
    )
    tensor = to_tensor(pixels, preprocessing)
    assert tensor.flags.c_contiguous
    assert tensor.dtype == np.float32
    for (row, column, channel), pixel in np.ndenumerate(pixels):
        value = tensor[0, channel, row, column] if layout == "NCHW" else tensor[0, row, column, channel]
        assert value == (np.float32(pixel) - np.float32(mean)) * np.float32(scale)


def test_images_are_resized_and_converted_to_what_the_model_takes(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    Image.new("L", (40, 30), 77).save(path, quality=95)
    tensor = load_image(path, Preprocessing.parse(COLOUR))
    assert tensor.shape == (1, 2, 4, 3)
    assert tensor.dtype == np.float32
    np.testing.assert_allclose(tensor[0, 0, 0], [76, 75, 74], atol=1)

    raw = Preprocessing.parse({**COLOUR, "dtype": "uint8", "mean": [0, 0, 0]})
    assert load_image(path, raw).dtype == np.uint8


def test_a_photo_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    image = Image.new("L", (2, 1))
    image.putpixel((0, 0), 255)
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    image.save(tmp_path / "turned.png", exif=exif)
    wanted = Preprocessing.parse({**GREY, "width": 1, "height": 2, "scale": 1, "mean": [0]})
    assert load_image(tmp_path / "turned.png", wanted).ravel().tolist() == [255, 0]


def _png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def _encoded(mode: str, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (8, 8)).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"not an image", "not a PNG or JPEG image"),
        (_encoded("L", "BMP"), "not a PNG or JPEG image"),
        (_png(10_000, 10_000), "10000x10000 pixels, expected at most 50000000"),
        (_png(40_000, 40_000), "40000x40000 pixels, expected at most 50000000"),
        (_encoded("L", "JPEG")[:-40], "cannot be read as an image"),
        (_encoded("RGB"), "its channels are RGB, the model takes L"),
        (_encoded("RGBA"), "its channels are RGBA, the model takes L"),
        (_encoded("CMYK", "JPEG"), "its channels are CMYK, the model takes L"),
        (_encoded("L", transparency=0), "L with transparency"),
    ],
)
def test_bad_images_are_refused_with_the_reason(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=message):
        load_image(path, Preprocessing.parse(GREY))


def test_files_that_cannot_be_opened_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="No such file"):
        load_image(tmp_path / "absent.png", Preprocessing.parse(GREY))
    with pytest.raises(ImageError, match="Is a directory"):
        load_image(tmp_path, Preprocessing.parse(GREY))


@_QUICK
@given(position=st.integers(0), bits=st.integers(1, 255), cut=st.integers(0))
def test_damage_anywhere_is_an_image_error_or_an_image(tmp_path: Path, position: int, bits: int, cut: int) -> None:
    content = bytearray(_encoded("L", "PNG" if position % 2 else "JPEG"))
    content[position % len(content)] ^= bits
    path = tmp_path / "damaged.png"
    path.write_bytes(content[: cut % (len(content) + 1)])
    try:
        tensor = load_image(path, Preprocessing.parse(GREY))
    except ImageError:
        return
    assert tensor.shape == (1, 1, 8, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layout": "NCWH"}, 'Preprocessing.layout: expected one of NCHW, NHWC, got "NCWH"'),
        ({"width": 0}, "Preprocessing.width: expected a number from 1 to 4096, got 0"),
        ({"width": 8.5}, "Preprocessing.width: expected a whole number, got 8.5"),
        ({"height": True}, "Preprocessing.height: expected a number"),
        ({"channels": "BGR"}, "Preprocessing.channels: expected one of L, RGB"),
        ({"mean": [1, 2]}, r"Preprocessing.mean: expected a list of 1 number\(s\)"),
        ({"mean": ["x"]}, r"Preprocessing.mean\[0\]: expected a number"),
        ({"scale": "nan"}, "Preprocessing.scale: expected a number"),
        ({"dtype": "uint8"}, "scale must be 1 and mean 0"),
        ({"dtype": "float64"}, "Preprocessing.dtype: expected one of float32, uint8"),
        ({"input": " "}, "Preprocessing.input: expected the name"),
        ({"sclae": 1}, "unknown: sclae"),
    ],
)
def test_wrong_preprocessing_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Preprocessing.parse({**GREY, **change})


def test_missing_preprocessing_is_named() -> None:
    with pytest.raises(ConfigurationError, match="missing: channels, height, input, layout, width"):
        Preprocessing.parse({})
    with pytest.raises(ConfigurationError, match=r"Preprocessing: expected an object as in .* got null"):
        Preprocessing.parse(None)


def test_numbers_may_be_of_any_kind_that_a_nucleus_makes_of_them() -> None:
    assert Preprocessing.parse({**GREY, "width": "8", "height": 8.0, "scale": "0.5"}) == Preprocessing.parse(GREY)
