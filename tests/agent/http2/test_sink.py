# SPDX-License-Identifier: Apache-2.0
"""Answers on their way out: never more than the peer's windows, and all of it in the end."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.http2 import frames
from edge_agent.http2.budget import Budget
from edge_agent.http2.frames import ConnectionFaultError, ErrorCode, Setting
from edge_agent.http2.sink import Sink
from edge_agent.http2.source import Source


class Peer:
    """The other end: counts its windows, and puts messages together."""

    def __init__(self, *, stream_window: int = frames.DEFAULT_WINDOW) -> None:
        self._near, ours = socket.socketpair()
        self._near.setblocking(False)  # noqa: FBT003 # the socket's own signature
        self._ours = ours
        for one in (self._near, ours):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)
        self.budget = Budget(2**20)
        self.sink = Sink(ours, self.budget)
        self.windows = {0: frames.DEFAULT_WINDOW}
        self.stream_window = stream_window
        self.messages: dict[int, bytearray] = {}
        self.ended: set[int] = set()

    def close(self) -> None:
        self._near.close()
        self._ours.close()

    def open(self, stream: int) -> None:
        self.windows[stream] = self.stream_window
        self.sink.open(stream)

    def widen(self, stream: int, increment: int) -> None:
        self.windows[stream] += increment
        self.sink.widen(stream, increment)

    def read(self) -> None:
        """Take what has come; it must be within the windows."""
        content = b""
        with contextlib.suppress(BlockingIOError):
            while piece := self._near.recv(2**20):
                content += piece
        position = 0

        def receive_into(target: memoryview) -> int:
            nonlocal position
            size = min(len(target), len(content) - position)
            target[:size] = content[position : position + size]
            position += size
            return size

        source = Source(receive_into)
        with contextlib.suppress(EOFError):
            while True:
                length, kind, flags, stream = source.head()
                payload = bytearray(length)
                source.read_into(memoryview(payload))
                if kind == frames.DATA:
                    assert stream not in self.ended
                    self.messages.setdefault(stream, bytearray()).extend(payload)
                    for window in (0, stream):
                        self.windows[window] -= length
                        assert self.windows[window] >= 0
                elif kind == frames.HEADERS and flags & frames.END_STREAM:
                    self.ended.add(stream)


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer()
    yield made
    made.close()


def expected(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


@given(
    st.lists(st.integers(0, 60_000), min_size=1, max_size=4),
    st.integers(0, 70_000),
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 40_000)), max_size=20),
)
def test_messages_come_whole_and_within_the_windows(
    sizes: list[int], window: int, updates: list[tuple[int, int]]
) -> None:
    peer = Peer(stream_window=window)
    try:
        peer.sink.apply([(Setting.INITIAL_WINDOW_SIZE, window)])
        messages = {2 * number + 1: bytes([number]) * size for number, size in enumerate(sizes)}
        for stream, message in messages.items():
            peer.open(stream)
            peer.sink.message(stream, message)
            peer.read()
        for number, increment in updates:
            stream = 2 * number - 1 if number else 0
            if stream in peer.windows and peer.windows[stream] + increment < 2**31:
                peer.widen(stream, increment)
                peer.read()
        for stream in [0, *messages]:
            peer.widen(stream, 400_000)
            peer.read()
        assert peer.ended == set(messages)
        assert not peer.sink.pending()
        assert peer.budget.left == 2**20
        for stream, message in messages.items():
            assert peer.messages[stream] == expected(message)
    finally:
        peer.close()


def test_other_settings_change_the_windows_of_what_waits(peer: Peer) -> None:
    peer.sink.apply([(Setting.INITIAL_WINDOW_SIZE, 10)])
    peer.stream_window = 10
    peer.open(1)
    peer.sink.message(1, b"x" * 100)
    peer.read()
    assert len(peer.messages[1]) == 10
    peer.sink.apply([(Setting.INITIAL_WINDOW_SIZE, 5)])  # now five below nothing
    peer.windows[1] -= 5
    peer.widen(1, 5)
    peer.read()
    assert len(peer.messages[1]) == 10
    peer.sink.apply([(Setting.INITIAL_WINDOW_SIZE, 200)])
    peer.windows[1] += 195
    peer.read()
    assert peer.messages[1] == expected(b"x" * 100)
    assert peer.ended == {1}


def test_what_was_cancelled_sends_no_more_and_does_not_hold_up_others(peer: Peer) -> None:
    for stream in (1, 3):
        peer.open(stream)
        peer.sink.message(stream, b"x" * 100_000)
    peer.sink.forget(1)
    peer.widen(0, 400_000)
    peer.widen(3, 400_000)
    peer.read()
    assert peer.ended == {3}


@pytest.mark.parametrize("stream", [0, 1])
@pytest.mark.parametrize("increment", [0, 2**31 - 1])
def test_windows_out_of_bounds_end_the_connection(peer: Peer, stream: int, increment: int) -> None:
    peer.open(1)
    with pytest.raises(ConnectionFaultError):
        peer.sink.widen(stream, increment)


@pytest.mark.parametrize("stream", [0, 1])
def test_a_window_may_be_as_large_as_it_can_and_no_larger(peer: Peer, stream: int) -> None:
    peer.open(1)
    peer.widen(stream, 2**31 - 1 - frames.DEFAULT_WINDOW)
    with pytest.raises(ConnectionFaultError) as caught:
        peer.sink.widen(stream, 1)
    assert caught.value.code is ErrorCode.FLOW_CONTROL_ERROR


@pytest.mark.parametrize("end", ["forget", "close", "widen"])
def test_answers_wait_within_a_budget_and_give_it_back(peer: Peer, end: str) -> None:
    for stream in (1, 3, 5):
        peer.open(stream)
    assert peer.sink.message(1, bytes(400_000))
    assert peer.sink.message(3, bytes(400_000))
    assert not peer.sink.message(5, bytes(400_000))
    peer.sink.refusal(5, b"", reset=False)
    peer.read()
    assert peer.ended == {5}
    if end == "forget":
        peer.sink.forget(1)
        peer.sink.forget(3)
    elif end == "close":
        peer.sink.close()
    else:
        for stream in (0, 1, 3):
            peer.widen(stream, 900_000)
            peer.read()
        assert peer.ended == {1, 3, 5}
    assert peer.budget.left == 2**20
