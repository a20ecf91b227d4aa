# SPDX-License-Identifier: Apache-2.0
"""The outgoing direction of a connection: answers, as fast as the peer's windows let them out."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import socket
import struct
import threading
from typing import TYPE_CHECKING, Union

from edge_agent.http2 import frames, headers
from edge_agent.http2.frames import ConnectionFaultError, ErrorCode, Setting

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edge_agent.http2.budget import Budget

_Piece = Union[bytes, memoryview]
# A peer that reads nothing for so long while its socket's buffer is full is taken for dead.
_STALL_SECONDS = 10
_MOST_PIECES = 512  # of one system call; Linux takes 1024
_LARGEST_FRAME = 1024 * 1024  # whatever the peer would take: others' answers get a turn in between
_PREFIX = struct.Struct(">BI")  # gRPC's, before a message: compressed or not, length


@dataclasses.dataclass
class _Waiting:
    """An answer that the windows do not let out yet."""

    parts: collections.deque[memoryview]
    left: int
    reserved: int


class Sink:
    """Writes frames; safe to use from several threads. After the peer is gone, writing does nothing.

    Args:
        connection: The socket, in blocking mode.
        budget: Bytes of answers that may wait for windows, over all connections.
    """

    def __init__(self, connection: socket.socket, budget: Budget) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _STALL_SECONDS, 0))
        self._socket = connection
        self._budget = budget
        self._lock = threading.Lock()
        self._window = self._initial_window = frames.DEFAULT_WINDOW
        self._frame = frames.DEFAULT_FRAME
        self._windows: dict[int, int] = {}  # of the streams that have no whole answer yet
        self._waiting: dict[int, _Waiting] = {}
        self._table_said = False
        self._broken = False

    def open(self, stream: int) -> int:
        """Expect an answer for a stream; how many are expected."""
        with self._lock:
            self._windows[stream] = self._initial_window
            return len(self._windows)

    def forget(self, stream: int) -> None:
        """Expect no answer any more, and send no more of one."""
        with self._lock:
            self._windows.pop(stream, None)
            self._release(self._waiting.pop(stream, None))

    def pending(self) -> bool:
        """Whether an answer has not been sent whole."""
        with self._lock:
            return bool(self._waiting) and not self._broken

    def begun(self) -> list[int]:
        """The streams whose answers wait; asks without waiting for who sends."""
        return list(self._waiting)

    def control(self, frame: bytes) -> None:
        """Send a frame that needs no window."""
        with self._lock:
            self._send([frame])

    def message(self, stream: int, message: _Piece) -> bool:
        """Answer with a message: at once, or as the peer's windows open.

        Returns:
            False when it would have to wait and there is no room for that: nothing was sent.
        """
        size = _PREFIX.size + len(message)
        prefix = _PREFIX.pack(0, len(message))
        with self._lock:
            if stream not in self._windows:
                return True
            at_once = size <= min(self._window, self._windows[stream], self._frame) and not self._waiting
            if not at_once and not self._budget.take(size):
                return False
            block = self._block(headers.ANSWER_HEAD)
            begin = frames.frame(frames.HEADERS, frames.END_HEADERS, stream, block)
            if at_once:
                self._window -= size
                del self._windows[stream]
                self._send([begin + frames.head(size, frames.DATA, 0, stream) + prefix, message, _end(stream)])
                return True
            parts = collections.deque(memoryview(part) for part in (prefix, message) if len(part))
            self._waiting[stream] = _Waiting(parts, size, size)
            self._send([begin, *self._let_out()])
            return True

    def refusal(self, stream: int, block: bytes, *, reset: bool) -> None:
        """Answer with headers alone.

        Args:
            stream: The stream.
            block: The headers.
            reset: Whether the peer shall stop sending its request.
        """
        with self._lock:
            if self._windows.pop(stream, None) is None:
                return
            flags = frames.END_HEADERS | frames.END_STREAM
            end = frames.rst_stream(stream, ErrorCode.NO_ERROR) if reset else b""
            self._send([frames.frame(frames.HEADERS, flags, stream, self._block(block)) + end])

    def widen(self, stream: int, increment: int) -> None:
        """Take a WINDOW_UPDATE; stream 0 is the connection.

        Raises:
            ConnectionFaultError: It is 0, or the window would be too large.
        """
        if not increment:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE: expected more than 0")
        with self._lock:
            if not stream:
                self._window = _widened(self._window, increment)
            elif stream in self._windows:
                self._windows[stream] = _widened(self._windows[stream], increment)
            if self._waiting:
                self._send(self._let_out())

    def apply(self, settings: Iterable[tuple[int, int]]) -> None:
        """Take the peer's settings and acknowledge them.

        Raises:
            ConnectionFaultError: A window would be too large.
        """
        with self._lock:
            for name, value in settings:
                if name == Setting.INITIAL_WINDOW_SIZE:
                    change, self._initial_window = value - self._initial_window, value
                    for stream, window in self._windows.items():
                        self._windows[stream] = _widened(window, change)
                elif name == Setting.MAX_FRAME_SIZE:
                    self._frame = min(value, _LARGEST_FRAME)
            self._send([frames.frame(frames.SETTINGS, frames.ACK, 0), *self._let_out()])

    def close(self) -> None:
        """Send nothing any more."""
        with self._lock:
            self._broken = True
            for waiting in self._waiting.values():
                self._release(waiting)
            self._waiting.clear()
            self._windows.clear()

    def _let_out(self) -> list[_Piece]:
        """Take as much of the waiting answers as the windows allow."""
        pieces: list[_Piece] = []
        for stream, waiting in list(self._waiting.items()):
            while waiting.left:
                size = min(waiting.left, self._window, self._windows[stream], self._frame)
                if size <= 0:
                    break
                pieces += (frames.head(size, frames.DATA, 0, stream), *_cut(waiting.parts, size))
                waiting.left -= size
                self._window -= size
                self._windows[stream] -= size
            else:
                self._release(self._waiting.pop(stream))
                del self._windows[stream]
                pieces.append(_end(stream))
        return pieces

    def _release(self, waiting: _Waiting | None) -> None:
        if waiting is not None:
            self._budget.give(waiting.reserved)

    def _block(self, block: bytes) -> bytes:
        if self._table_said:
            return block
        self._table_said = True
        return headers.NO_TABLE + block

    def _send(self, pieces: Sequence[_Piece]) -> None:
        if self._broken:
            return
        try:
            for first in range(0, len(pieces), _MOST_PIECES):
                left = list(pieces[first : first + _MOST_PIECES])
                while left:
                    _drop(left, self._socket.sendmsg(left))
        except OSError:  # it is gone, or reads nothing
            self._give_up()

    def _give_up(self) -> None:
        self._broken = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # who reads from it finds the end


def _end(stream: int) -> bytes:
    return frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream, headers.ANSWER_END)


def _widened(window: int, increment: int) -> int:
    if window + increment > frames.LARGEST_WINDOW:
        raise ConnectionFaultError(
            ErrorCode.FLOW_CONTROL_ERROR, f"window: expected less than 2**31, got {increment} more"
        )
    return window + increment


def _cut(parts: collections.deque[memoryview], size: int) -> list[memoryview]:
    """Take so many bytes from the front."""
    taken: list[memoryview] = []
    while size:
        part = parts.popleft()
        if len(part) > size:
            parts.appendleft(part[size:])
            part = part[:size]
        taken.append(part)
        size -= len(part)
    return taken


def _drop(pieces: list[_Piece], sent: int) -> None:
    """Remove so many bytes from the front, and whatever is empty there."""
    done = 0
    while done < len(pieces) and sent >= len(pieces[done]):
        sent -= len(pieces[done])
        done += 1
    del pieces[:done]
    if sent:
        pieces[0] = memoryview(pieces[0])[sent:]
