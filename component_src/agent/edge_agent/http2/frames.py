# SPDX-License-Identifier: Apache-2.0
"""HTTP/2's frames: their layout and what may be wrong with them. Nothing here knows a socket."""

from __future__ import annotations

import enum
import struct
from typing import NamedTuple

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
ACK = END_STREAM = 0x1
END_HEADERS, PADDED, WITH_PRIORITY = 0x4, 0x8, 0x20
HEAD_BYTES = 9
#: What holds before the peer's settings say otherwise.
DEFAULT_WINDOW, DEFAULT_FRAME = 2**16 - 1, 2**14
LARGEST_WINDOW, LARGEST_FRAME = 2**31 - 1, 2**24 - 1

_HEAD = struct.Struct(">HBBBI")
_SETTING = struct.Struct(">HI")
_NUMBER = struct.Struct(">I")
_STREAM_BITS = 0x7FFF_FFFF
_PRIORITY_BYTES = 5


class Setting(enum.IntEnum):
    """The settings that matter here."""

    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class ErrorCode(enum.IntEnum):
    """Why a stream or a connection ends."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    FLOW_CONTROL_ERROR = 3
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class ConnectionFaultError(Exception):
    """The peer broke the protocol: its connection ends, and only that."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class Head(NamedTuple):
    """A frame's head."""

    length: int
    kind: int
    flags: int
    stream: int


def read_head(buffer: bytes | bytearray | memoryview, position: int = 0) -> Head:
    """Read the nine bytes at a position."""
    high, low, kind, flags, stream = _HEAD.unpack_from(buffer, position)
    return Head(high << 8 | low, kind, flags, stream & _STREAM_BITS)


def head(length: int, kind: int, flags: int, stream: int) -> bytes:
    """Write a frame's head."""
    return _HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Write a frame."""
    return head(len(payload), kind, flags, stream) + payload


def settings(values: dict[Setting, int]) -> bytes:
    """Write a SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(name, value) for name, value in values.items()))


def window_update(stream: int, increment: int) -> bytes:
    """Write a WINDOW_UPDATE frame."""
    return frame(WINDOW_UPDATE, 0, stream, _NUMBER.pack(increment))


def rst_stream(stream: int, code: ErrorCode) -> bytes:
    """Write a RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream, _NUMBER.pack(code))


def goaway(last_stream: int, code: ErrorCode, message: str = "") -> bytes:
    """Write a GOAWAY frame."""
    return frame(GOAWAY, 0, 0, _NUMBER.pack(last_stream) + _NUMBER.pack(code) + message.encode()[:500])


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """Read the settings of a frame, in their order.

    Raises:
        ConnectionFaultError: They are cut, or a value is beyond what it may be.
    """
    if len(payload) % _SETTING.size:
        raise ConnectionFaultError(
            ErrorCode.FRAME_SIZE_ERROR, f"SETTINGS: expected six-byte pieces, got {len(payload)}"
        )
    found = list(_SETTING.iter_unpack(payload))
    for name, value in found:
        if name == Setting.INITIAL_WINDOW_SIZE and value > LARGEST_WINDOW:
            raise ConnectionFaultError(ErrorCode.FLOW_CONTROL_ERROR, f"INITIAL_WINDOW_SIZE: got {value}")
        if name == Setting.MAX_FRAME_SIZE and not DEFAULT_FRAME <= value <= LARGEST_FRAME:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, f"MAX_FRAME_SIZE: got {value}")
        if name == Setting.ENABLE_PUSH and value > 1:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, f"ENABLE_PUSH: expected 0 or 1, got {value}")
    return found


def read_window_update(payload: bytes) -> int:
    """Read an increment, which may be a wrong 0."""
    return number(payload) & _STREAM_BITS


def number(payload: bytes) -> int:
    """Read a payload that is one number of 32 bits.

    Raises:
        ConnectionFaultError: It is not four bytes long.
    """
    if len(payload) != _NUMBER.size:
        raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, f"expected a frame of 4 bytes, got {len(payload)}")
    (found,) = _NUMBER.unpack(payload)
    return int(found)


def header_block(payload: bytes, flags: int) -> bytes:
    """Take padding and priority off a HEADERS frame's payload.

    Raises:
        ConnectionFaultError: They are longer than the frame.
    """
    start, end = 0, len(payload)
    if flags & PADDED:
        start, end = 1, end - (payload[0] if payload else end + 1)
    if flags & WITH_PRIORITY:
        start += _PRIORITY_BYTES
    if start > end:
        raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "HEADERS: expected padding within the frame, got more")
    return payload[start:end]
