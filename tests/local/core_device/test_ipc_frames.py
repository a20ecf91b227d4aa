# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.core_device.ipc_frames import MAX_FRAME_BYTES, Frame, FrameError, decode, encode, frame_length

NAMES = st.text(min_size=1, max_size=30).filter(lambda text: len(text.encode()) < 256)
VALUES = st.one_of(st.booleans(), st.integers(-(2**31), 2**31 - 1), st.text(max_size=50), st.binary(max_size=50))
FRAMES = st.builds(Frame, st.dictionaries(NAMES, VALUES, max_size=5), st.binary(max_size=500))


def with_headers(headers: bytes) -> bytes:
    prelude = struct.pack(">II", 16 + len(headers), len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers
    return message + struct.pack(">I", zlib.crc32(message))


@given(FRAMES)
def test_what_is_encoded_is_decoded_the_same(frame: Frame) -> None:
    data = encode(frame)
    assert decode(data) == frame
    assert frame_length(data[:12]) == len(data)


@given(FRAMES, st.data())
def test_every_changed_bit_is_noticed(frame: Frame, data: st.DataObject) -> None:
    message = bytearray(encode(frame))
    bit = data.draw(st.integers(0, 8 * len(message) - 1))
    message[bit // 8] ^= 1 << bit % 8
    with pytest.raises(FrameError):
        decode(bytes(message))


@given(st.binary(max_size=200))
def test_headers_of_any_bytes_are_decoded_or_refused(headers: bytes) -> None:
    try:
        frame = decode(with_headers(headers))
    except FrameError:
        return
    assert isinstance(frame.headers, dict)


@pytest.mark.parametrize(
    ("kind", "body", "value"),
    [
        (2, b"\xff", -1),
        (3, b"\x01\x00", 256),
        (5, b"\x00" * 7 + b"\x05", 5),
        (8, b"\x00" * 7 + b"\x06", 6),
        (9, b"u" * 16, b"u" * 16),
    ],
)
def test_types_that_only_a_client_sends_are_decoded(kind: int, body: bytes, value: object) -> None:
    assert decode(with_headers(b"\x01h" + bytes([kind]) + body)).headers == {"h": value}


def test_a_header_of_an_unknown_type_is_refused() -> None:
    with pytest.raises(FrameError, match="unknown type 12"):
        decode(with_headers(b"\x01h\x0c"))


def test_a_message_that_lite_does_not_take_is_refused_at_its_beginning() -> None:
    largest = encode(Frame(payload=b"x" * (MAX_FRAME_BYTES - 16)))
    assert frame_length(largest[:12]) == MAX_FRAME_BYTES
    with pytest.raises(FrameError, match="10001 bytes"):
        frame_length(encode(Frame(payload=b"x" * (MAX_FRAME_BYTES - 15)))[:12])


@pytest.mark.parametrize("headers", [{"n": 2**31}, {"x" * 256: 1}, {"n": "x" * 65536}])
def test_a_header_that_does_not_fit_is_refused(headers: dict[str, str | int]) -> None:
    with pytest.raises(FrameError, match="does not fit"):
        encode(Frame(headers))


def test_integers_and_json_are_checked() -> None:
    assert Frame().integer(":stream-id") == 0
    with pytest.raises(FrameError, match="expected an integer"):
        Frame({":stream-id": "1"}).integer(":stream-id")
    with pytest.raises(FrameError, match="no JSON"):
        Frame(payload=b"{").json()
    with pytest.raises(FrameError, match="found list"):
        Frame(payload=b"[]").json()
