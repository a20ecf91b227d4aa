# SPDX-License-Identifier: Apache-2.0
"""The calls of one connection: each is coming in, being answered, or forgotten."""

from __future__ import annotations

import functools
import threading
import time
from typing import TYPE_CHECKING, Callable, Protocol

from edge_agent.http2 import frames, headers
from edge_agent.http2.exchange import Exchange, Receiving
from edge_agent.http2.frames import ErrorCode
from edge_agent.service import Answer, Code

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_agent.http2.headers import RequestHead
    from edge_agent.http2.overseer import Timed
    from edge_agent.http2.sink import Sink

_MORE_STREAMS = 100  # than calls may run: so many are refused in words, more by number
_HTTP_NO_METHOD, _HTTP_NO_TYPE = 405, 415
_CONTENT_TYPE = b"application/grpc"
_WATCHED_BYTES = 64 * 1024  # what a message of fewer takes is not worth a look at the clock
_STALLED = Answer(
    code=Code.RESOURCE_EXHAUSTED, details="message: expected it whole within a minute, as others need the room"
)
_LATE = Answer(code=Code.DEADLINE_EXCEEDED, details="the caller's time was over before its request had come")


class Limits(Protocol):
    """What all connections of a server share.

    Attributes:
        rpcs: The names of the RPCs by their paths.
        most_bytes: Longest message in either direction.
        most_calls: How many calls may run at the same time.
    """

    rpcs: Mapping[bytes, str]
    most_bytes: int
    most_calls: int

    def begin_call(self) -> bool:
        """Whether one more call may run; if so, ``end_call`` must follow."""

    def end_call(self) -> None:
        """A call has run."""

    def reserve(self, count: int) -> bool:
        """Whether there is room for so many bytes of requests; if so, ``release`` must follow."""

    def release(self, count: int) -> None:
        """Room is free again."""

    def run(self, work: Callable[[], None]) -> None:
        """Let another thread do something."""

    def expect(self, timed: Timed) -> None:
        """Call ``late`` when its deadline is over."""

    def expect_no_more(self, timed: Timed) -> None:
        """Do not."""


class Calls:
    """Opens and completes calls in the reader's thread, finishes them in any.

    Args:
        limits: What holds for all connections.
        sink: Where answers go.
    """

    def __init__(self, limits: Limits, sink: Sink) -> None:
        self._limits = limits
        self._sink = sink
        self._lock = threading.Lock()
        self._leaving = False
        self._incoming: dict[int, Exchange] = {}
        self._answering: dict[int, Exchange] = {}
        self._receiving: dict[int, Receiving] = {}
        self.most_streams = limits.most_calls + _MORE_STREAMS
        self.last_stream = 0  # that the peer opened
        self.last_taken = 0  # that something may have been done about
        self.idle_since = time.monotonic()

    def idle(self) -> bool:
        """Whether nothing is asked and nothing unsent."""
        return not self._incoming and not self._answering and not self._sink.pending()

    def begun(self) -> list[int]:
        """The streams whose requests are not whole."""
        return list(self._incoming)

    def leave(self) -> bool:
        """Take no new calls, and tell the peer; whether that is news."""
        with self._lock:
            if self._leaving:
                return False
            self._leaving = True
        self._sink.control(frames.goaway(self.last_taken, ErrorCode.NO_ERROR))
        return True

    def left(self) -> bool:
        """Whether no new calls are taken and none goes on."""
        return self._leaving and self.idle()

    def incoming(self, stream: int) -> Exchange | None:
        """The call whose request comes on a stream."""
        return self._incoming.get(stream)

    def open(self, stream: int, head: RequestHead, *, ended: bool) -> Exchange | None:
        """Begin a call, or refuse to.

        Args:
            stream: Larger than any before.
            head: Its headers.
            ended: Whether no message follows, which is an error of its own.
        """
        self.last_stream = stream
        with self._lock:
            if self._leaving:
                return None  # the peer knows by the GOAWAY that it was not heard
            self.last_taken = stream
        if self._sink.open(stream) > self.most_streams:
            self._sink.forget(stream)
            self._sink.control(frames.rst_stream(stream, ErrorCode.REFUSED_STREAM))
            return None
        if head.method != b"POST" or not head.content_type.startswith(_CONTENT_TYPE):
            status = _HTTP_NO_METHOD if head.method != b"POST" else _HTTP_NO_TYPE
            self._sink.refusal(stream, headers.http_refusal(status), reset=not ended)
            return None
        rpc = self._limits.rpcs.get(head.path)
        exchange = Exchange(stream, head, rpc=rpc or "", most_bytes=self._limits.most_bytes, on_late=self._late)
        self._incoming[stream] = exchange
        if exchange.deadline is not None:
            self._limits.expect(exchange)
        if head.malformed:
            self.refuse(exchange, Answer(code=Code.INVALID_ARGUMENT, details=head.malformed), reset=not ended)
        elif rpc is None:
            details = f"{head.path!r:.300}: expected one of {', '.join(sorted(self._limits.rpcs.values()))}"
            self.refuse(exchange, Answer(code=Code.UNIMPLEMENTED, details=details), reset=not ended)
        elif ended:
            return self.complete(exchange)
        return None

    def reserve(self, exchange: Exchange, count: int) -> bool:
        """Whether there is room for a call's message; a larger one must be whole before long."""
        if not self._limits.reserve(count):
            return False
        if count >= _WATCHED_BYTES:
            refuse = functools.partial(self.refuse, exchange, _STALLED, reset=True)
            receiving = Receiving(functools.partial(self._limits.run, refuse))
            self._receiving[exchange.stream] = receiving
            self._limits.expect(receiving)
        return True

    def complete(self, exchange: Exchange) -> Exchange | None:
        """Take a request as whole, and give it back if it is to be answered; ``end_call`` must follow then."""
        refused = _LATE if exchange.overdue() else exchange.complete()
        if refused is None and not self._limits.begin_call():
            details = f"calls: {self._limits.most_calls} run or wait, expected fewer; call again in a moment"
            refused = Answer(code=Code.RESOURCE_EXHAUSTED, details=details)
        if refused is not None:
            self.refuse(exchange, refused, reset=False)
            return None
        self._answering[exchange.stream] = exchange
        if self._incoming.pop(exchange.stream, None) is None:  # it came too late, and the caller has been told
            self.abandon(exchange)
            return None
        return exchange

    def refuse(self, exchange: Exchange, answer: Answer, *, reset: bool) -> None:
        """Answer a call whose request is not whole, or cannot be taken.

        Args:
            exchange: The call.
            answer: The refusal.
            reset: Whether the peer may still be sending.
        """
        known = self._incoming.pop(exchange.stream, None) is not None
        if exchange.stream not in self._answering:
            self._forget(exchange)
        if known:
            self._sink.refusal(exchange.stream, headers.refusal(answer.code, answer.details), reset=reset)

    def finish(self, exchange: Exchange, answer: Answer) -> None:
        """Send the answer of a call that was completed, unless it was cancelled meanwhile."""
        known = self._answering.pop(exchange.stream, None) is not None
        self._forget(exchange)
        self.idle_since = time.monotonic()
        most = self._limits.most_bytes
        fits = not answer.code and len(answer.message) <= most
        if known and not (fits and self._sink.message(exchange.stream, answer.message)):
            code, details = answer.code, answer.details
            if fits:
                code = Code.RESOURCE_EXHAUSTED
                details = (
                    f"answer: no room for its {len(answer.message)} bytes among the answers that wait until their "
                    "callers take them; call again in a moment, or use shared memory"
                )
            elif not code:
                code = Code.RESOURCE_EXHAUSTED
                details = f"answer: expected at most {most} bytes (MaxMessageBytes), got {len(answer.message)}"
            elif code == Code.CANCELLED and exchange.overdue():
                code = Code.DEADLINE_EXCEEDED  # that is why nobody waits
            self._sink.refusal(exchange.stream, headers.refusal(code, details), reset=False)

    def abandon(self, exchange: Exchange) -> None:
        """A call that was completed will not run."""
        self._answering.pop(exchange.stream, None)
        self._forget(exchange)
        self._limits.end_call()

    def cancel(self, stream: int) -> None:
        """Nobody waits for a call any more."""
        incoming, answering = self._incoming.pop(stream, None), self._answering.pop(stream, None)
        self._sink.forget(stream)
        if incoming is not None:
            self._forget(incoming)
        # Whose answer is being made holds its message until that has ended, and with it the room: see ``finish``.
        for exchange in filter(None, (incoming, answering)):
            exchange.end()

    def cancel_all(self) -> None:
        """Nobody waits for any."""
        for stream in [*self._incoming, *self._answering]:
            self.cancel(stream)

    def _late(self, exchange: Exchange) -> None:
        exchange.end()
        # The overseer, whose thread this is, must not wait for a peer that reads nothing.
        self._limits.run(functools.partial(self.refuse, exchange, _LATE, reset=True))

    def _forget(self, exchange: Exchange) -> None:
        if exchange.deadline is not None:
            self._limits.expect_no_more(exchange)
        receiving = self._receiving.pop(exchange.stream, None)
        if receiving is not None:
            self._limits.expect_no_more(receiving)
        if reserved := exchange.give_back():
            self._limits.release(reserved)
