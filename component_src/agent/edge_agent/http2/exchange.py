# SPDX-License-Identifier: Apache-2.0
"""One call: its request as it comes in, and whether somebody waits for its answer."""

from __future__ import annotations

import struct
import threading
import time
from typing import TYPE_CHECKING, Callable

import numpy as np

from edge_agent.service import Answer, Code

if TYPE_CHECKING:
    from edge_agent.http2.headers import RequestHead
    from edge_agent.http2.source import Source
    from edge_contract.wire import Buffer

_PREFIX = struct.Struct(">BI")  # gRPC's, before a message: compressed or not, length
_RECEIVING_SECONDS = 60.0


class Receiving:
    """The time that a larger message has to come whole, as the room that it takes is missed by others.

    Args:
        on_late: Called when it is over; see ``overseer``.
    """

    def __init__(self, on_late: Callable[[], None]) -> None:
        self.deadline: float | None = time.monotonic() + _RECEIVING_SECONDS
        self.late = on_late


class Exchange:
    """One call; see ``service.Call``, which it is to those who answer.

    Args:
        stream: Its number.
        head: Its headers.
        rpc: What is called.
        most_bytes: Longest message.
        on_late: Called when its deadline is over; see ``overseer``.
    """

    def __init__(
        self, stream: int, head: RequestHead, *, rpc: str, most_bytes: int, on_late: Callable[[Exchange], None]
    ) -> None:
        self.stream = stream
        self.rpc = rpc
        self.deadline = None if head.timeout is None else time.monotonic() + head.timeout
        self._reserved = 0
        self._compressed = head.encoding != b"identity"
        self._most_bytes = most_bytes
        self._on_late = on_late
        self._prefix = b""
        self._target: memoryview | None = None
        self._filled = 0
        self._lock = threading.Lock()
        self._over = False
        self._callbacks: list[Callable[[], None]] = []

    # --- the caller ---------------------------------------------------------------------------------------------------
    def remaining(self) -> float | None:
        """See ``service.Call``."""
        return None if self.deadline is None else self.deadline - time.monotonic()

    def active(self) -> bool:
        """See ``service.Call``."""
        return not self._over

    def when_over(self, callback: Callable[[], None]) -> None:
        """See ``service.Call``."""
        with self._lock:
            if not self._over:
                self._callbacks.append(callback)
                return
        callback()

    def end(self) -> None:
        """Nobody waits any more."""
        with self._lock:
            self._over = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def overdue(self) -> bool:
        """Whether the deadline is over."""
        return self.deadline is not None and self.deadline <= time.monotonic()

    def late(self) -> None:
        """The deadline is over."""
        self._on_late(self)

    # --- the request --------------------------------------------------------------------------------------------------
    def read(self, source: Source, count: int, reserve: Callable[[int], bool]) -> Answer | None:
        """Read the payload of a DATA frame.

        Args:
            source: What to read from.
            count: The payload's bytes; all of them are read in any case.
            reserve: Whether there is room for so many more bytes.

        Returns:
            The refusal, when it cannot be or become the one message of a call.
        """
        while count:
            if self._target is None:
                piece = min(_PREFIX.size - len(self._prefix), count)
                self._prefix += source.take(piece)
                count -= piece
                if len(self._prefix) < _PREFIX.size:
                    return None
                refused = self._begin(reserve)
                if refused is not None:
                    source.skip(count)
                    return refused
            assert self._target is not None  # noqa: S101 # for the type checker: it was begun
            piece = min(len(self._target) - self._filled, count)
            source.read_into(self._target[self._filled : self._filled + piece])
            self._filled += piece
            count -= piece
            if count and self._filled == len(self._target):
                source.skip(count)
                return _NOT_ONE
        return None

    def complete(self) -> Answer | None:
        """Take the message as whole, as no more of it will come; a refusal when it is not."""
        if self._target is None or self._filled != len(self._target):
            return _NOT_ONE if not self._prefix else CUT
        return None

    def take_message(self) -> Buffer:
        """The message; it is not kept."""
        message, self._target = self._target, None
        assert message is not None  # noqa: S101 # for the type checker: it is complete
        return message

    def give_back(self) -> int:
        """How many bytes were reserved; 0 when they were given back before."""
        with self._lock:
            reserved, self._reserved = self._reserved, 0
        return reserved

    def _begin(self, reserve: Callable[[int], bool]) -> Answer | None:
        flag, length = _PREFIX.unpack(self._prefix)
        if flag:
            return _UNKNOWN_COMPRESSION if self._compressed and flag == 1 else _BAD_FLAG
        if length > self._most_bytes:
            return Answer(
                code=Code.RESOURCE_EXHAUSTED,
                details=f"message: expected at most {self._most_bytes} bytes (MaxMessageBytes), got {length}",
            )
        if not reserve(length):
            return Answer(
                code=Code.RESOURCE_EXHAUSTED,
                details=f"message: no room for its {length} bytes among the requests that are being received or "
                "answered; send it again in a moment, or use shared memory",
            )
        with self._lock:
            self._reserved = length
        try:
            # Not zeroed, so that no memory is touched before it is filled.
            self._target = np.empty(length, np.uint8).data
        except MemoryError:
            return Answer(code=Code.RESOURCE_EXHAUSTED, details=f"message: no memory for its {length} bytes")
        return None


_NOT_ONE = Answer(code=Code.UNIMPLEMENTED, details="expected exactly one message, as all calls here are unary")
CUT = Answer(code=Code.INTERNAL, details="expected a whole message, got the call's end before that of the message")
_UNKNOWN_COMPRESSION = Answer(code=Code.UNIMPLEMENTED, details="expected an uncompressed message, got a compressed one")
_BAD_FLAG = Answer(
    code=Code.INTERNAL, details="expected a flag of 0 before the message, got another, and no grpc-encoding"
)
