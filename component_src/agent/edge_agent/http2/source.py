# SPDX-License-Identifier: Apache-2.0
"""The incoming direction of a connection: frames out of whatever pieces the socket gives."""

from __future__ import annotations

from typing import Callable

from edge_agent.http2 import frames

_BUFFER_BYTES = 64 * 1024


class Source:
    """Reads a stream of bytes through a buffer; used by one thread at a time.

    Args:
        receive_into: As ``socket.recv_into``: fills a view as far as it can, waits for at least one byte, and gives
            their number; 0 at the end.

    Every method that reads raises EOFError at the end.
    """

    def __init__(self, receive_into: Callable[[memoryview], int]) -> None:
        self._receive_into = receive_into
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._start = self._end = 0

    def has_frame(self) -> bool:
        """Whether a whole frame has been received already."""
        received = self._end - self._start
        if received < frames.HEAD_BYTES:
            return False
        return received >= frames.HEAD_BYTES + frames.read_head(self._buffer, self._start).length

    def has_some(self) -> bool:
        """Whether something was received that nobody has taken."""
        return self._end > self._start

    def head(self) -> frames.Head:
        """Read a frame's head."""
        start = self._have(frames.HEAD_BYTES)
        self._start += frames.HEAD_BYTES
        return frames.read_head(self._buffer, start)

    def take(self, count: int) -> bytes:
        """Read some bytes, at most as many as the buffer holds."""
        start = self._have(count)
        self._start += count
        return self._buffer[start : start + count].tobytes()

    def read_into(self, target: memoryview) -> None:
        """Fill a view, past the buffer as far as possible."""
        filled = min(len(target), self._end - self._start)
        target[:filled] = self._buffer[self._start : self._start + filled]
        self._start += filled
        while filled < len(target):
            filled += self._receive(target[filled:])

    def skip(self, count: int) -> None:
        """Read some bytes and forget them."""
        while count:
            self._have(1)
            piece = min(count, self._end - self._start)
            self._start += piece
            count -= piece

    def _have(self, count: int) -> int:
        """Buffer at least so many bytes, and tell where they start."""
        if self._end - self._start >= count:
            return self._start
        left = self._end - self._start
        if not left or self._start + count > _BUFFER_BYTES:
            self._buffer[:left] = bytes(self._buffer[self._start : self._end])
            self._start, self._end = 0, left
        while self._end - self._start < count:
            self._end += self._receive(self._buffer[self._end :])
        return self._start

    def _receive(self, target: memoryview) -> int:
        count = self._receive_into(target)
        if not count:
            raise EOFError
        return count
