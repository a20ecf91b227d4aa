# SPDX-License-Identifier: Apache-2.0
"""Frames of the event-stream encoding that Greengrass IPC speaks; integers are big endian.

A frame is: total length (4), length of the headers (4), CRC-32 of these (4), headers, payload, CRC-32 of all before.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

HeaderValue = bool | int | str | bytes

_PRELUDE = struct.Struct(">II")
_CRC = struct.Struct(">I")
PRELUDE_BYTES = _PRELUDE.size + _CRC.size
OVERHEAD_BYTES = PRELUDE_BYTES + _CRC.size
MAX_FRAME_BYTES = 10_000
"""Nucleus lite drops a connection above it."""

_TRUE, _FALSE, _INT32, _BYTES, _STRING = 0, 1, 4, 6, 7
# Types of a fixed size, all read as integers but the uuid.
_INTEGERS = {2: struct.Struct(">b"), 3: struct.Struct(">h"), _INT32: struct.Struct(">i"), 5: struct.Struct(">q")}
_INTEGERS[8] = _INTEGERS[5]
_UUID, _UUID_BYTES = 9, 16


class FrameError(Exception):
    """Bytes that are no frame; the connection cannot go on."""


@dataclass(frozen=True)
class Frame:
    """One message of a connection."""

    headers: Mapping[str, HeaderValue] = field(default_factory=dict)
    payload: bytes = b""

    def integer(self, name: str) -> int:
        """Give a header that has to be an integer; absent counts as 0."""
        value = self.headers.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int):
            raise FrameError(f"header {name}: expected an integer, found {value!r}")
        return value

    def json(self) -> dict[str, Any]:
        """Give the payload, which has to be a JSON object; nothing counts as an empty one."""
        try:
            value = json.loads(self.payload or b"{}")
        except ValueError as error:
            raise FrameError(f"the payload is no JSON: {error}") from None
        if not isinstance(value, dict):
            raise FrameError(f"the payload: expected a JSON object, found {type(value).__name__}")
        return value


def encode(frame: Frame) -> bytes:
    """Write a frame.

    Raises:
        FrameError: a header does not fit its type.
    """
    headers = b"".join(_encode_header(name, value) for name, value in frame.headers.items())
    prelude = _PRELUDE.pack(OVERHEAD_BYTES + len(headers) + len(frame.payload), len(headers))
    message = prelude + _CRC.pack(zlib.crc32(prelude)) + headers + frame.payload
    return message + _CRC.pack(zlib.crc32(message))


def frame_length(prelude: bytes) -> int:
    """Give the total length that a frame's first 12 bytes announce.

    Raises:
        FrameError: they are damaged, or the frame is larger than nucleus lite takes.
    """
    total, headers = _PRELUDE.unpack_from(prelude)
    if _CRC.unpack_from(prelude, _PRELUDE.size)[0] != zlib.crc32(prelude[: _PRELUDE.size]):
        raise FrameError("the CRC of the frame's beginning is wrong")
    if total < OVERHEAD_BYTES + headers:
        raise FrameError(f"a frame of {total} bytes cannot hold {headers} bytes of headers")
    if total > MAX_FRAME_BYTES:
        raise FrameError(f"a message of {total} bytes; nucleus lite takes at most {MAX_FRAME_BYTES}")
    return int(total)


def decode(data: bytes) -> Frame:
    """Read one whole frame.

    Raises:
        FrameError: the bytes are not exactly one frame.
    """
    if len(data) < OVERHEAD_BYTES or frame_length(data[:PRELUDE_BYTES]) != len(data):
        raise FrameError(f"{len(data)} bytes are not one frame")
    if _CRC.unpack_from(data, len(data) - _CRC.size)[0] != zlib.crc32(data[: -_CRC.size]):
        raise FrameError("the CRC of the frame is wrong")
    end = PRELUDE_BYTES + _PRELUDE.unpack_from(data)[1]
    return Frame(headers=_decode_headers(data[PRELUDE_BYTES:end]), payload=data[end : -_CRC.size])


def _encode_header(name: str, value: HeaderValue) -> bytes:
    raw = name.encode()
    try:
        start = struct.pack(">B", len(raw)) + raw
        if isinstance(value, bool):
            return start + bytes([_TRUE if value else _FALSE])
        if isinstance(value, int):
            return start + struct.pack(">Bi", _INT32, value)
        body = value.encode() if isinstance(value, str) else value
        return start + struct.pack(">BH", _STRING if isinstance(value, str) else _BYTES, len(body)) + body
    except struct.error as error:
        raise FrameError(f"header {name!r} does not fit: {error}") from None


def _decode_headers(data: bytes) -> dict[str, HeaderValue]:
    headers: dict[str, HeaderValue] = {}
    position = 0
    try:
        while position < len(data):
            length = data[position]
            name = data[position + 1 : position + 1 + length].decode()
            position += 1 + length
            kind = data[position]
            headers[name], position = _decode_value(kind, data, position + 1)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise FrameError(f"the headers are damaged: {error}") from None
    return headers


def _decode_value(kind: int, data: bytes, position: int) -> tuple[HeaderValue, int]:
    if kind in {_TRUE, _FALSE}:
        return kind == _TRUE, position
    if kind in _INTEGERS:
        layout = _INTEGERS[kind]
        return layout.unpack_from(data, position)[0], position + layout.size
    if kind == _UUID:
        length = _UUID_BYTES
    elif kind in {_BYTES, _STRING}:
        length = struct.unpack_from(">H", data, position)[0]
        position += 2
    else:
        raise FrameError(f"a header of the unknown type {kind}")
    body = data[position : position + length]
    if len(body) != length:
        raise FrameError("the headers end in the middle of a value")
    return body.decode() if kind == _STRING else body, position + length
