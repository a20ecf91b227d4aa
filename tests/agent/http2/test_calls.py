# SPDX-License-Identifier: Apache-2.0
"""Calls as bytes by hand: what a stock client may send, and what it would not."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable

import pytest

from edge_agent.http2 import exchange, frames, reader
from edge_agent.http2.frames import ErrorCode, Setting
from edge_agent.service import Answer, Code
from tests.agent.http2.peers import HEADERS, MOST_BYTES, MOST_CALLS, Echo, Raw


def test_a_call_split_anywhere_is_the_same_call(raw: Raw) -> None:
    for stream in range(1, 60, 2):
        content = raw.request(stream, b"hello")
        cut = stream * len(content) // 60
        raw.send(content[:cut])
        time.sleep(0.001)
        raw.send(content[cut:])
        assert raw.answer(stream)[1] == b"hello"


def test_padding_priority_and_pieces_are_understood(raw: Raw) -> None:
    block = raw.encoder.encode(HEADERS)
    content = b"\0\0\0\0\5hello"
    flags = frames.PADDED | frames.WITH_PRIORITY
    raw.send(frames.frame(frames.HEADERS, flags, 1, b"\3" + bytes(5) + block[:4] + bytes(3)))
    for piece in (block[4:9], b"", block[9:]):
        ended = frames.END_HEADERS if piece == block[9:] else 0
        raw.send(frames.frame(frames.CONTINUATION, ended, 1, piece))
    for index in range(len(content)):
        payload = bytes([index]) + content[index : index + 1] + bytes(index)
        raw.send(frames.frame(frames.DATA, frames.PADDED, 1, payload))
        raw.send(frames.frame(frames.PRIORITY, 0, 1, bytes(5)) + frames.frame(0xFE, 0xFF, 7, b"unknown"))
    raw.send(frames.frame(frames.DATA, frames.END_STREAM, 1))
    assert raw.answer(1)[1] == b"hello"


def test_pings_are_answered_also_while_a_call_runs(raw: Raw, echo: Echo) -> None:
    raw.send(raw.request(1, b"wait"))
    assert echo.waiting.acquire(timeout=10)
    raw.send(frames.frame(frames.PING, 0, 0, b"12345678"))
    acknowledged = next(
        payload for head, payload in raw.frames() if head.kind == frames.PING and head.flags == frames.ACK
    )
    assert acknowledged == b"12345678"
    echo.go.set()
    assert raw.answer(1)[1] == b"wait"


def test_requests_sent_together_are_all_answered(raw: Raw) -> None:
    raw.send(b"".join(raw.request(stream, b"%d" % stream) for stream in (1, 3, 5, 7)))
    answered = set()
    for head, payload in raw.frames():
        if head.kind == frames.DATA:
            answered.add((head.stream, payload[5:]))
        if len(answered) == 4:
            break
    assert answered == {(1, b"1"), (3, b"3"), (5, b"5"), (7, b"7")}


def test_an_answer_waits_for_the_window(raw: Raw) -> None:
    raw.send(frames.settings({Setting.INITIAL_WINDOW_SIZE: 1}) + raw.request(1, b"hello"))
    got = []
    for window in (3, 100, 0):
        got.append(next(payload for head, payload in raw.frames() if head.kind == frames.DATA))
        if window:
            raw.send(frames.window_update(1, window))
    assert got == [b"\0", b"\0\0\0", b"\5hello"]
    assert raw.answer(1)[0][b"grpc-status"] == b"0"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ([(b":method", b"GET")], b"405"),
        ([(b"content-type", b"text/html")], b"415"),
        ([(b"content-type", b"")], b"415"),
    ],
)
def test_what_is_no_grpc_gets_an_http_status(raw: Raw, changes: list[tuple[bytes, bytes]], status: bytes) -> None:
    raw.send(raw.request(1, b"x", *changes))
    assert raw.answer(1)[0][b":status"] == status
    raw.send(raw.request(3, b"x"))
    assert raw.answer(3)[1] == b"x"


@pytest.mark.parametrize(
    ("message", "flags", "changes", "code"),
    [
        (None, 0, [], Code.UNIMPLEMENTED),
        (b"x", 1, [(b"grpc-encoding", b"gzip")], Code.UNIMPLEMENTED),
        (b"x", 1, [], Code.INTERNAL),
        (b"x", 7, [], Code.INTERNAL),
        (b"x", 0, [(b"grpc-timeout", b"soon")], Code.INVALID_ARGUMENT),
        (b"x", 0, [(b"grpc-timeout", b"0S")], Code.DEADLINE_EXCEEDED),
        (b"x", 0, [(b":path", b"/AWS.SageMaker.Edge.Agent/\xff")], Code.UNIMPLEMENTED),
        (b"x", 0, [(b":path", b"/other.Service/Predict")], Code.UNIMPLEMENTED),
        (b"x", 0, [(b":path", b"")], Code.UNIMPLEMENTED),
    ],
)
def test_odd_requests_are_refused_and_the_next_is_not(
    raw: Raw, message: bytes | None, flags: int, changes: list[tuple[bytes, bytes]], code: Code
) -> None:
    raw.send(raw.request(1, message, *changes, flags=flags))
    fields, _ = raw.answer(1)
    assert fields[b"grpc-accept-encoding"] == b"identity"
    assert int(fields[b"grpc-status"]) == code
    raw.send(raw.request(3, b"x"))
    assert raw.answer(3)[1] == b"x"


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"\0\0\0\0\1xy", Code.UNIMPLEMENTED), (b"\0\0\0\0\3xy", Code.INTERNAL), (b"\0\0\0", Code.INTERNAL)],
    ids=["two messages", "a cut message", "a cut prefix"],
)
def test_requests_of_other_than_one_message_are_refused(raw: Raw, content: bytes, code: Code) -> None:
    block = raw.encoder.encode(HEADERS)
    raw.send(frames.frame(frames.HEADERS, frames.END_HEADERS, 1, block))
    raw.send(frames.frame(frames.DATA, frames.END_STREAM, 1, content))
    assert int(raw.answer(1)[0][b"grpc-status"]) == code


def test_a_request_that_does_not_come_whole_in_time_is_told_so(raw: Raw) -> None:
    block = raw.encoder.encode([*HEADERS, (b"grpc-timeout", b"50m")])
    raw.send(frames.frame(frames.HEADERS, frames.END_HEADERS, 1, block))
    raw.send(frames.frame(frames.DATA, 0, 1, b"\0\0\0\0\5hel"))
    assert int(raw.answer(1)[0][b"grpc-status"]) == Code.DEADLINE_EXCEEDED
    raw.send(frames.frame(frames.DATA, frames.END_STREAM, 1, b"lo") + raw.request(3, b"x"))
    assert raw.answer(3)[1] == b"x"


def test_announced_messages_do_not_add_up_beyond_the_bound(raw: Raw) -> None:
    block = raw.encoder.encode(HEADERS)
    announced = b"\0" + MOST_BYTES.to_bytes(4, "big")
    for stream in range(1, 11, 2):
        raw.send(
            frames.frame(
                frames.HEADERS, frames.END_HEADERS, stream, block if stream == 1 else raw.encoder.encode(HEADERS)
            )
        )
        raw.send(frames.frame(frames.DATA, 0, stream, announced))
    assert int(raw.answer(9)[0][b"grpc-status"]) == Code.RESOURCE_EXHAUSTED
    raw.send(b"".join(frames.rst_stream(stream, ErrorCode.NO_ERROR) for stream in range(1, 9, 2)))
    raw.send(raw.request(11, b"x"))
    assert raw.answer(11)[1] == b"x"


def test_a_cancelled_calls_message_counts_as_long_as_it_is_held(
    raw: Raw, echo: Echo, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., None]
) -> None:
    hold = threading.Event()

    def answer(*_: object) -> Answer:  # as a runtime that cannot be interrupted
        echo.waiting.release()
        hold.wait(10)
        return Answer(b"")

    monkeypatch.setattr(echo, "answer", answer)
    for stream in range(1, 9, 2):
        raw.send(raw.request(stream, bytes(MOST_BYTES)))
        assert echo.waiting.acquire(timeout=10)
    raw.send(b"".join(frames.rst_stream(stream, ErrorCode.NO_ERROR) for stream in range(1, 9, 2)))
    raw.send(raw.request(9, b"x"))
    fields = raw.answer(9)[0]
    hold.set()
    assert b"no room" in fields[b"grpc-message"]
    streams = itertools.count(11, 2)

    def all_room_is_back() -> bool:
        stream = next(streams)
        raw.send(raw.request(stream, bytes(MOST_BYTES)))
        return raw.answer(stream)[0][b"grpc-status"] == b"0"

    eventually(all_room_is_back)


@pytest.mark.parametrize("part", [b"", bytes(70_000)])
def test_a_larger_message_that_does_not_go_on_gives_its_room_back(
    raw: Raw, monkeypatch: pytest.MonkeyPatch, part: bytes
) -> None:
    monkeypatch.setattr(exchange, "_RECEIVING_SECONDS", 0.2)
    raw.send(frames.frame(frames.HEADERS, frames.END_HEADERS, 1, raw.encoder.encode(HEADERS)))
    raw.send(frames.frame(frames.DATA, 0, 1, b"\0" + MOST_BYTES.to_bytes(4, "big") + part))
    fields = raw.answer(1)[0]
    assert int(fields[b"grpc-status"]) == Code.RESOURCE_EXHAUSTED
    assert b"whole within a minute" in fields[b"grpc-message"]
    raw.send(frames.frame(frames.DATA, frames.END_STREAM, 1, bytes(10)) + raw.request(3, b"x"))
    assert raw.answer(3)[1] == b"x"


def test_a_call_that_is_late_while_its_message_begins_keeps_no_room(raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = exchange.Exchange._begin

    def late(one: exchange.Exchange, reserve: Callable[[int], bool]) -> Answer | None:
        time.sleep(0.3)  # the overseer refuses it meanwhile
        return begin(one, reserve)

    monkeypatch.setattr(exchange.Exchange, "_begin", late)
    raw.send(raw.request(1, b"hello", (b"grpc-timeout", b"50m")))
    assert int(raw.answer(1)[0][b"grpc-status"]) == Code.DEADLINE_EXCEEDED
    raw.send(raw.request(3, b"x"))  # the server's room is looked at when it stops
    assert raw.answer(3)[1] == b"x"


def test_a_call_whose_connection_faults_before_it_runs_leaves_nothing(raw: Raw) -> None:
    raw.send(raw.request(1, b"x") + frames.frame(frames.PING, 0, 1, bytes(8)))
    assert raw.ending() is ErrorCode.PROTOCOL_ERROR  # the server's counts are looked at when it stops


def test_streams_without_end_are_refused_by_number(raw: Raw) -> None:
    count = MOST_CALLS + 101
    for stream in range(1, 2 * count, 2):
        raw.send(frames.frame(frames.HEADERS, frames.END_HEADERS, stream, raw.encoder.encode(HEADERS)))
    refused = next(head.stream for head, _ in raw.frames() if head.kind == frames.RST_STREAM)
    assert refused == 2 * count - 1


def test_streams_opened_and_cancelled_at_once_leave_nothing(raw: Raw) -> None:
    def send() -> None:
        for stream in range(1, 4000, 2):
            raw.send(raw.request(stream, b"x") + frames.rst_stream(stream, ErrorCode.NO_ERROR))
        raw.send(raw.request(4001, b"last"))

    sender = threading.Thread(target=send)
    sender.start()
    fields, message = raw.answer(4001)
    sender.join()
    assert message == b"last" or int(fields[b"grpc-status"]) == Code.RESOURCE_EXHAUSTED


def test_credit_comes_back_for_what_was_received(raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_CREDIT_EVERY", 1000)
    raw.send(raw.request(1, bytes(95)))  # with gRPC's prefix, 100 bytes
    assert raw.answer(1)[1] == bytes(95)  # the greeting's own credit is read with it
    raw.send(b"".join(raw.request(stream, bytes(595)) for stream in (3, 5, 7)))
    granted, ended = [], set[int]()
    for head, payload in raw.frames():
        if head.kind == frames.WINDOW_UPDATE:
            granted.append((head.stream, frames.read_window_update(payload)))
        elif head.kind == frames.HEADERS and head.flags & frames.END_STREAM:
            ended.add(head.stream)
        if ended == {3, 5, 7}:
            break
    assert granted == [(0, 100 + 600 + 600)]
