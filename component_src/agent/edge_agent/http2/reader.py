# SPDX-License-Identifier: Apache-2.0
"""The frames of one connection in their order: each does something to the calls or to what may be sent."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Callable

from edge_agent.http2 import frames, headers
from edge_agent.http2.exchange import CUT, Exchange
from edge_agent.http2.frames import ConnectionFaultError, ErrorCode, Head, Setting

if TYPE_CHECKING:
    from edge_agent.http2.calls import Calls
    from edge_agent.http2.sink import Sink
    from edge_agent.http2.source import Source

_LARGEST_FRAME = 1024 * 1024
_LARGEST_OTHER = 32 * 1024  # of a frame that is no DATA, and of a header block in several
_PING_BYTES, _PRIORITY_BYTES, _GOAWAY_BYTES = 8, 5, 8
# Messages are bounded by their length, not by how much of them is under way: the peer need never wait for credit.
_WINDOW = frames.LARGEST_WINDOW
_CREDIT_EVERY = 2**30


class FrameReader:
    """Reads frame after frame; used by one thread at a time.

    Args:
        source: Where they come from.
        sink: Where what answers them goes.
        calls: What they are about.

    Its methods raise ConnectionFaultError when the peer breaks the protocol, EOFError at the end.
    """

    def __init__(self, source: Source, sink: Sink, calls: Calls) -> None:
        self._source = source
        self._sink = sink
        self._calls = calls
        self._heads = headers.HeadReader()
        self._frames = 0  # that have been read whole
        self._in_frame = False
        self._received = 0  # bytes since the peer was last given credit
        self._acts: dict[int, Callable[[Head, bytes], None]] = {
            frames.SETTINGS: self._settings,
            frames.PING: self._ping,
            frames.WINDOW_UPDATE: self._window_update,
            frames.RST_STREAM: self._rst_stream,
            frames.PRIORITY: self._priority,
            frames.GOAWAY: self._goaway,
            frames.PUSH_PROMISE: self._unexpected,
            frames.CONTINUATION: self._unexpected,
        }

    def greet(self) -> None:
        """Say what is expected of the peer."""
        settings = {
            Setting.MAX_CONCURRENT_STREAMS: self._calls.most_streams,
            Setting.INITIAL_WINDOW_SIZE: _WINDOW,
            Setting.MAX_FRAME_SIZE: _LARGEST_FRAME,
            Setting.MAX_HEADER_LIST_SIZE: headers.LONGEST_LIST,
        }
        self._sink.control(
            frames.settings(settings) + frames.window_update(0, _WINDOW - frames.DEFAULT_WINDOW),
        )

    def greeting(self) -> None:
        """Read what a client says first."""
        if self._source.take(len(frames.PREFACE)) != frames.PREFACE:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "expected HTTP/2 with prior knowledge")
        head = self._source.head()
        if head.kind != frames.SETTINGS or head.flags & frames.ACK:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, f"expected SETTINGS first, got frame type {head.kind}")
        self._other(head)

    def next(self) -> Exchange | None:
        """Read one frame; gives back the call whose request is whole with it."""
        head = self._source.head()
        self._in_frame = True
        exchange = self._act_on(head)
        self._in_frame = False
        self._frames += 1
        return exchange

    def begun(self) -> int | None:
        """The number of the frame of which a part has come; None when there is none."""
        return self._frames if self._in_frame or self._source.has_some() else None

    def _act_on(self, head: Head) -> Exchange | None:
        if head.kind == frames.DATA:
            return self._data(head)
        if head.kind == frames.HEADERS:
            return self._headers(head)
        self._other(head)
        return None

    def _data(self, head: Head) -> Exchange | None:
        count = head.length
        if count > _LARGEST_FRAME:
            raise ConnectionFaultError(
                ErrorCode.FRAME_SIZE_ERROR, f"DATA: expected at most {_LARGEST_FRAME}, got {count}"
            )
        self._known(head)
        self._received += count
        if self._received >= _CREDIT_EVERY:
            self._sink.control(frames.window_update(0, self._received))
            self._received = 0
        padding = 0
        if head.flags & frames.PADDED:
            padding = self._source.take(1)[0] if count else 1
            count -= 1 + padding
            if count < 0:
                raise ConnectionFaultError(
                    ErrorCode.PROTOCOL_ERROR, "DATA: expected padding within the frame, got more"
                )
        exchange = self._calls.incoming(head.stream)
        if exchange is None:  # refused or cancelled, but the peer did not know yet
            self._source.skip(count + padding)
            return None
        refused = exchange.read(self._source, count, functools.partial(self._calls.reserve, exchange))
        self._source.skip(padding)
        ended = bool(head.flags & frames.END_STREAM)
        if refused is not None or self._calls.incoming(head.stream) is None:
            self._calls.refuse(exchange, refused or CUT, reset=not ended)
            return None
        return self._calls.complete(exchange) if ended else None

    def _headers(self, head: Head) -> Exchange | None:
        flags, stream = head.flags, head.stream
        block = frames.header_block(self._payload(head), flags)
        while not flags & frames.END_HEADERS:
            more = self._source.head()
            if more.kind != frames.CONTINUATION or more.stream != stream:
                raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "HEADERS: expected a CONTINUATION next")
            block += self._payload(more)
            flags |= more.flags & frames.END_HEADERS
            if len(block) > _LARGEST_OTHER:
                raise ConnectionFaultError(ErrorCode.ENHANCE_YOUR_CALM, "HEADERS: expected fewer")
        request = self._heads.read(block)
        ended = bool(flags & frames.END_STREAM)
        if stream > self._calls.last_stream:
            if not stream % 2:
                raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, f"stream {stream}: expected an odd number")
            return self._calls.open(stream, request, ended=ended)
        exchange = self._calls.incoming(stream)
        if exchange is None or not ended:
            self._known(head)
            return None
        return self._calls.complete(exchange)  # by trailers, which say nothing to us

    def _other(self, head: Head) -> None:
        payload = self._payload(head)
        act = self._acts.get(head.kind)
        if act is not None:  # what is unknown is stepped over
            act(head, payload)

    def _settings(self, head: Head, payload: bytes) -> None:
        _of_the_connection(head)
        if not head.flags & frames.ACK:
            self._sink.apply(frames.read_settings(payload))
        else:
            _expect(not payload, head)

    def _ping(self, head: Head, payload: bytes) -> None:
        _of_the_connection(head)
        _expect(len(payload) == _PING_BYTES, head)
        if not head.flags & frames.ACK:
            self._sink.control(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _window_update(self, head: Head, payload: bytes) -> None:
        if head.stream:
            self._known(head)
        self._sink.widen(head.stream, frames.read_window_update(payload))

    def _rst_stream(self, head: Head, payload: bytes) -> None:
        frames.number(payload)
        self._known(head)
        self._calls.cancel(head.stream)

    @staticmethod
    def _priority(head: Head, payload: bytes) -> None:
        _expect(len(payload) == _PRIORITY_BYTES, head)

    @staticmethod
    def _goaway(head: Head, payload: bytes) -> None:
        _of_the_connection(head)
        _expect(len(payload) >= _GOAWAY_BYTES, head)

    @staticmethod
    def _unexpected(head: Head, _: bytes) -> None:
        raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, f"frame type {head.kind}: not expected of a client here")

    def _payload(self, head: Head) -> bytes:
        if head.length > _LARGEST_OTHER:
            raise ConnectionFaultError(
                ErrorCode.FRAME_SIZE_ERROR,
                f"frame type {head.kind}: expected at most {_LARGEST_OTHER}, got {head.length}",
            )
        return self._source.take(head.length)

    def _known(self, head: Head) -> None:
        if not 0 < head.stream <= self._calls.last_stream:
            raise ConnectionFaultError(
                ErrorCode.PROTOCOL_ERROR, f"frame type {head.kind}: expected an open stream, got {head.stream}"
            )


def _expect(fits: bool, head: Head) -> None:  # noqa: FBT001 # reads as a sentence where it is called
    if not fits:
        raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, f"frame type {head.kind}: not of {head.length} bytes")


def _of_the_connection(head: Head) -> None:
    if head.stream:
        raise ConnectionFaultError(
            ErrorCode.PROTOCOL_ERROR, f"frame type {head.kind}: expected stream 0, got {head.stream}"
        )
