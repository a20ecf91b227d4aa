# SPDX-License-Identifier: Apache-2.0
"""What the inference component refuses, said in the log of its process, with the real agent beside it."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

Says = tuple[str, str, str, str]


def _encoded(mode: str, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (8, 8)).save(buffer, kind)
    return buffer.getvalue()


def _large() -> bytes:
    """A PNG of 10 000 x 5 001 pixels, of which it holds none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 10_000, 5_001, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


CASES: dict[str, tuple[str, bytes, Says]] = {
    "no-image.png": ("no image", b"just text", ("no-image.png", "PNG or JPEG", "is not", "convert it")),
    "empty.png": ("0 bytes", b"", ("empty.png", "expected a PNG or JPEG image", "is empty", "copy it again")),
    "cut.jpg": (
        "a part is missing",
        _encoded("L", "JPEG")[:-40],
        ("cut.jpg", "expected a whole one", "cannot", "copy it again"),
    ),
    "large.png": ("over 50 megapixels", _large(), ("large.png", "at most 50000000", "10000x5001", "make it smaller")),
    "colour.png": ("other channels", _encoded("RGB"), ("colour.png", "takes L", "are RGB", "convert the image first")),
}


@pytest.mark.refusal("Image")
def test_images(device: Any, eventually: Callable[..., None], refusal: Callable[..., None]) -> None:
    (good,) = device.add_images(1)
    for name, (_, content, _) in CASES.items():
        (device.images / name).write_bytes(content)
    device.start_agent()
    component = device.start()
    eventually(lambda: component.events("pass_finished"))
    assert [line["image"] for line in component.events("prediction")] == [good]  # the pass went on
    skipped = {line["image"]: line["error"] for line in component.events("image_skipped")}
    assert skipped.keys() == CASES.keys()
    for name, (situation, _, says) in CASES.items():
        refusal(f"{name}: {skipped[name]}", says, situation=situation)
