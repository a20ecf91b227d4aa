# SPDX-License-Identifier: Apache-2.0
"""What breaks the protocol ends its own connection, with its reason, and no other."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.http2 import connection, frames, watch
from edge_agent.http2.frames import ErrorCode, Setting
from edge_agent.http2.sink import Sink
from tests.agent.http2.peers import HEADERS, MOST_BYTES, Echo, Raw


def after_a_request(content: bytes) -> Callable[[Raw], bytes]:
    return lambda raw: raw.request(1, b"x") + content


FAULTS: dict[str, tuple[Callable[[Raw], bytes], ErrorCode]] = {
    "DATA on no stream": (after_a_request(frames.frame(frames.DATA, 0, 0, b"x")), ErrorCode.PROTOCOL_ERROR),
    "DATA on an idle stream": (after_a_request(frames.frame(frames.DATA, 0, 9, b"x")), ErrorCode.PROTOCOL_ERROR),
    "an even stream": (lambda raw: raw.request(2, b"x"), ErrorCode.PROTOCOL_ERROR),
    "HEADERS on no stream": (lambda raw: raw.request(0, b"x"), ErrorCode.PROTOCOL_ERROR),
    "a cut header block": (
        after_a_request(frames.frame(frames.HEADERS, frames.END_HEADERS, 3, b"\x40\x7f")),
        ErrorCode.COMPRESSION_ERROR,
    ),
    "an index out of the table": (
        after_a_request(frames.frame(frames.HEADERS, frames.END_HEADERS, 3, b"\xff\xff\x7f")),
        ErrorCode.COMPRESSION_ERROR,
    ),
    "headers without end": (
        after_a_request(
            frames.frame(frames.HEADERS, 0, 3) + frames.frame(frames.CONTINUATION, 0, 3, bytes(16_000)) * 3
        ),
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "a CONTINUATION of nothing": (after_a_request(frames.frame(frames.CONTINUATION, 4, 1)), ErrorCode.PROTOCOL_ERROR),
    "PING between headers": (
        after_a_request(frames.frame(frames.HEADERS, 0, 3) + frames.frame(frames.PING, 0, 0, bytes(8))),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "a CONTINUATION of another stream": (
        after_a_request(frames.frame(frames.HEADERS, 0, 3) + frames.frame(frames.CONTINUATION, 4, 5)),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "a short PING": (after_a_request(frames.frame(frames.PING, 0, 0, b"123")), ErrorCode.FRAME_SIZE_ERROR),
    "a short PRIORITY": (after_a_request(frames.frame(frames.PRIORITY, 0, 1, bytes(4))), ErrorCode.FRAME_SIZE_ERROR),
    "a short RST_STREAM": (after_a_request(frames.frame(frames.RST_STREAM, 0, 1, b"1")), ErrorCode.FRAME_SIZE_ERROR),
    "a short GOAWAY": (after_a_request(frames.frame(frames.GOAWAY, 0, 0, bytes(7))), ErrorCode.FRAME_SIZE_ERROR),
    "GOAWAY on a stream": (after_a_request(frames.frame(frames.GOAWAY, 0, 1, bytes(8))), ErrorCode.PROTOCOL_ERROR),
    "DATA between headers": (
        after_a_request(frames.frame(frames.HEADERS, 0, 3) + frames.frame(frames.DATA, 0, 3, b"x")),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "PING on a stream": (after_a_request(frames.frame(frames.PING, 0, 1, bytes(8))), ErrorCode.PROTOCOL_ERROR),
    "SETTINGS on a stream": (after_a_request(frames.frame(frames.SETTINGS, 0, 1)), ErrorCode.PROTOCOL_ERROR),
    "an acknowledgement with settings": (
        after_a_request(frames.frame(frames.SETTINGS, frames.ACK, 0, bytes(6))),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "a window of 2**31": (after_a_request(frames.window_update(0, 2**31 - 1)), ErrorCode.FLOW_CONTROL_ERROR),
    "a WINDOW_UPDATE of 0": (after_a_request(frames.window_update(0, 0)), ErrorCode.PROTOCOL_ERROR),
    "a short WINDOW_UPDATE": (
        after_a_request(frames.frame(frames.WINDOW_UPDATE, 0, 0, b"1")),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "RST_STREAM on an idle stream": (
        after_a_request(frames.rst_stream(9, ErrorCode.NO_ERROR)),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "PUSH_PROMISE": (after_a_request(frames.frame(frames.PUSH_PROMISE, 4, 1, bytes(8))), ErrorCode.PROTOCOL_ERROR),
    "a frame too long": (after_a_request(frames.head(2**21, frames.DATA, 0, 1)), ErrorCode.FRAME_SIZE_ERROR),
    "a control frame too long": (after_a_request(frames.head(2**16, frames.PING, 0, 0)), ErrorCode.FRAME_SIZE_ERROR),
    "padding beyond the frame": (
        lambda raw: raw.request(1, b"x", flags=0)[:-15] + frames.frame(frames.DATA, frames.PADDED, 1, b"\x09ab"),
        ErrorCode.PROTOCOL_ERROR,
    ),
}


@pytest.mark.parametrize("name", list(FAULTS))
def test_a_fault_ends_its_connection_with_its_reason_and_no_other(
    raw: Raw, stock: Callable[..., Any], name: str
) -> None:
    assert stock(b"before").result() == b"before"
    content, code = FAULTS[name]
    raw.send(content(raw))
    assert raw.ending() is code
    assert stock(b"after").result() == b"after"


@pytest.mark.parametrize("content", [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01" + bytes(200)])
def test_another_protocol_is_refused(path: Path, content: bytes) -> None:
    raw = Raw(path, greet=False)
    raw.send(content)
    assert raw.ending() is ErrorCode.PROTOCOL_ERROR
    raw.socket.close()


def test_the_first_frame_must_be_settings(path: Path) -> None:
    raw = Raw(path, greet=False)
    raw.send(frames.PREFACE + frames.frame(frames.PING, 0, 0, bytes(8)))
    assert raw.ending() is ErrorCode.PROTOCOL_ERROR
    raw.socket.close()


def test_who_says_nothing_is_let_go(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_GREETING_SECONDS", 0.1)
    raw = Raw(path, greet=False)
    raw.send(frames.PREFACE[:10])
    assert raw.ending() is None
    raw.socket.close()


def test_a_client_that_vanishes_is_no_longer_worked_for(raw: Raw, echo: Echo, eventually: Callable[..., None]) -> None:
    raw.send(raw.request(1, b"wait"))
    assert echo.waiting.acquire(timeout=10)
    raw.socket.close()
    eventually(lambda: echo.over == ["Predict"])


def test_a_client_that_reads_nothing_does_not_hold_up_the_others(raw: Raw, stock: Callable[..., Any]) -> None:
    raw.send(frames.settings({Setting.INITIAL_WINDOW_SIZE: 2**31 - 1}) + frames.window_update(0, 2**30))
    raw.send(raw.request(1, b"large%d" % MOST_BYTES))  # more than the socket holds
    for _ in range(10):
        assert stock(b"x").result() == b"x"
    assert len(raw.answer(1)[1]) == MOST_BYTES


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_end_one_connection_at_most(path: Path, echo: Echo, data: st.DataObject) -> None:
    echo.go.set()
    raw, healthy = Raw(path, greet=False), Raw(path)
    with contextlib.closing(raw.socket), contextlib.closing(healthy.socket):
        requests = b"".join(raw.request(stream, b"hello") for stream in (1, 3, 5))
        content = bytearray(frames.PREFACE + frames.settings({}) + requests)
        for _ in range(data.draw(st.integers(1, 5))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        cut = data.draw(st.integers(0, len(content)))
        with contextlib.suppress(OSError):
            raw.send(bytes(content[:cut]))
            raw.send(bytes(content[cut:]))
            raw.socket.shutdown(socket.SHUT_WR)
            for _ in raw.frames():
                pass
        healthy.send(healthy.request(1, b"hello"))
        assert healthy.answer(1)[1] == b"hello"


@pytest.mark.parametrize("what", ["head", "payload", "continuation", "request", "small frames", "answer"])
def test_what_is_begun_and_trickles_is_ended(path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(watch, "_PERIOD_SECONDS", 0.3)
    raw, idle = Raw(path), Raw(path)
    request = raw.request(1, bytes(1000))
    block = raw.encoder.encode(HEADERS)
    begin = {
        "head": b"",
        "payload": frames.head(1000, frames.PING + 100, 0, 0),  # a kind that is stepped over
        "continuation": frames.frame(frames.HEADERS, 0, 1, block) + frames.head(9000, frames.CONTINUATION, 0, 1),
        "request": request[:-900],
        "small frames": frames.frame(frames.HEADERS, frames.END_HEADERS, 1, block),
        "answer": frames.settings({Setting.INITIAL_WINDOW_SIZE: 1}) + request,  # taken byte by byte
    }[what]
    piece = {"small frames": frames.frame(frames.DATA, 0, 1, b"\0"), "answer": frames.window_update(1, 1)}.get(
        what, b"\0"
    )
    raw.send(begin)
    ended = threading.Event()

    def trickle() -> None:
        with contextlib.suppress(OSError):
            for _ in range(5 if what == "head" else 10_000):
                raw.send(piece)
                if ended.wait(0.02):
                    return

    sender = threading.Thread(target=trickle)
    sender.start()
    for _ in raw.frames():  # until the server ends it
        pass
    ended.set()
    sender.join()
    raw.socket.close()
    idle.send(idle.request(1, b"x"))  # who says nothing between frames stays
    assert idle.answer(1)[1] == b"x"
    idle.socket.close()


def test_who_goes_on_is_never_ended(path: Path, echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_PERIOD_SECONDS", 0.3)
    raw, slow = Raw(path), Raw(path)
    slow.send(slow.request(1, b"wait"))  # a call that takes many periods
    assert echo.waiting.acquire(timeout=10)
    for stream in range(1, 21, 2):
        raw.send(raw.request(stream, b"x"))
        assert raw.answer(stream)[1] == b"x"
        time.sleep(0.1)
    echo.go.set()
    assert slow.answer(1)[1] == b"wait"
    raw.socket.close()
    slow.socket.close()


@pytest.mark.parametrize("calls_at_once", [1, 3])  # answered by who reads, or by others too
@pytest.mark.parametrize("where", ["answer", "message"])
def test_a_defect_ends_its_connection_and_leaves_nothing(
    path: Path, echo: Echo, caplog: pytest.LogCaptureFixture, where: str, calls_at_once: int
) -> None:
    def defect(*_: object) -> None:
        raise ZeroDivisionError

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(echo if where == "answer" else Sink, where, defect)
        raw = Raw(path)
        raw.send(b"".join(raw.request(stream, b"x") for stream in range(1, 2 * calls_at_once, 2)))
        assert raw.ending() is None
    raw.socket.close()
    assert all(one.exc_info for one in caplog.records if one.getMessage() == "internal_error")
    assert "ZeroDivisionError" in caplog.text
    after = Raw(path)
    after.send(after.request(1, b"x"))  # the server's counts are looked at when it stops
    assert after.answer(1)[1] == b"x"
    after.socket.close()
