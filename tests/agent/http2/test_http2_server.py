# SPDX-License-Identifier: Apache-2.0
"""The server on its socket: stock clients, bytes by hand, and what neither would send."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import hpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.http2 import connection, exchange, frames, server, watch
from edge_agent.http2.frames import ErrorCode, Setting
from edge_agent.http2.server import Http2Server
from edge_agent.http2.sink import Sink
from edge_agent.http2.source import Source
from edge_agent.service import Answer, Call, Code

DESCRIPTORS = Path("/proc/self/fd")
PREDICT = b"/AWS.SageMaker.Edge.Agent/Predict"
MOST_BYTES, MOST_CALLS = 1_000_000, 4
HEADERS = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", PREDICT),
    (b":authority", b"localhost"),
    (b"te", b"trailers"),
    (b"content-type", b"application/grpc"),
]


class Echo:
    """A service behind the interface that the transports have: it answers what it is asked, or waits to be let go."""

    rpcs = ("Predict", "ListModels")

    def __init__(self) -> None:
        self.go = threading.Event()
        self.waiting = threading.Semaphore(0)
        self.threads: set[int] = set()
        self.over: list[str] = []

    def answer(self, rpc: str, message: Any, call: Call) -> Answer:
        self.threads.add(threading.get_ident())
        text = bytes(message)
        if text.startswith(b"wait"):
            over = threading.Event()
            call.when_over(over.set)
            self.waiting.release()
            while not self.go.wait(0.005):
                if over.is_set():
                    self.over.append(rpc)
                    return Answer(code=Code.CANCELLED, details="nobody waits")
        if text.startswith(b"refuse"):
            return Answer(code=Code.NOT_FOUND, details=f"100 % \n né {text[6:].decode()}")
        if text.startswith(b"large"):
            return Answer(bytes(int(text[5:])))
        return Answer(text)


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def path(echo: Echo, tmp_path: Path, eventually: Callable[..., None]) -> Iterator[Path]:
    path = tmp_path / "s"
    made = Http2Server(echo, most_bytes=MOST_BYTES, most_calls=MOST_CALLS)  # type: ignore[arg-type] # as much as it uses
    made.listen(path)
    made.start()
    yield path
    echo.go.set()
    assert made.stop(2.0).wait(10)
    assert made._running == 0
    # Whose caller is gone may be a moment from its end.
    eventually(lambda: made._requests.left == made.answers.left == 4 * MOST_BYTES)
    assert not made._connections


@pytest.fixture
def stock(path: Path) -> Iterator[Callable[..., Any]]:
    """Calls through grpcio, all over one connection; gives a future."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"unix://{path}", options) as channel:

        def call(message: bytes, *, rpc: str = "Predict", seconds: float | None = 20.0, **more: Any) -> Any:
            method: Any = channel.unary_unary(f"/AWS.SageMaker.Edge.Agent/{rpc}")
            return method.future(message, timeout=seconds, **more)

        yield call


class Raw:
    """A client by hand."""

    def __init__(self, path: Path, *, greet: bool = True) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        self.socket.connect(str(path))
        self.source = Source(self.socket.recv_into)
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        if greet:
            self.send(frames.PREFACE + frames.settings({}))

    def send(self, content: bytes) -> None:
        self.socket.sendall(content)

    def request(self, stream: int, message: bytes | None, *changes: tuple[bytes, bytes], flags: int = 0) -> bytes:
        fields = {**dict(HEADERS), **dict(changes)}
        block = self.encoder.encode([(name, value) for name, value in fields.items() if value])
        if message is None:
            return frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream, block)
        content = bytes([flags]) + len(message).to_bytes(4, "big") + message
        begin = frames.frame(frames.HEADERS, frames.END_HEADERS, stream, block)
        return begin + frames.frame(frames.DATA, frames.END_STREAM, stream, content)

    def frames(self) -> Iterator[tuple[frames.Head, bytes]]:
        """Until the connection ends."""
        with contextlib.suppress(EOFError, ConnectionResetError):
            while True:
                head = self.source.head()
                yield head, self.source.take(head.length)

    def answer(self, stream: int) -> tuple[dict[bytes, bytes], bytes]:
        """All headers and the message of a stream."""
        fields: dict[bytes, bytes] = {}
        message = b""
        for head, payload in self.frames():
            if head.kind == frames.HEADERS:
                found = {bytes(name): bytes(value) for name, value in self.decoder.decode(payload, raw=True)}
                if head.stream == stream:
                    fields.update(found)
                    if head.flags & frames.END_STREAM:
                        return fields, message[5:]
            elif head.kind == frames.DATA and head.stream == stream:
                message += payload
            elif head.kind == frames.GOAWAY:
                break
        raise AssertionError(f"the connection ended after {fields} and {message!r}")

    def ending(self) -> ErrorCode | None:
        """How the server ended the connection; None when it said nothing."""
        code = None
        for head, payload in self.frames():
            if head.kind == frames.GOAWAY:
                code = ErrorCode(int.from_bytes(payload[4:8], "big"))
        return code


@pytest.fixture
def raw(path: Path) -> Iterator[Raw]:
    made = Raw(path)
    yield made
    made.socket.close()


class TestStockClients:
    @pytest.mark.parametrize("size", [0, 1, 16_379, 16_380, 65_531, 65_536, 400_000, MOST_BYTES])
    def test_messages_of_any_size_go_both_ways(self, stock: Callable[..., Any], size: int) -> None:
        message = bytes(range(256)) * (size // 256) + bytes(size % 256)
        for _ in range(3):
            assert stock(message).result() == message

    def test_refusals_come_with_their_words(self, stock: Callable[..., Any]) -> None:
        call = stock(b"refuse now")
        assert (call.code(), call.details()) == (grpc.StatusCode.NOT_FOUND, "100 % \n né  now")

    def test_one_after_the_other_is_answered_by_the_thread_that_reads(
        self, stock: Callable[..., Any], echo: Echo
    ) -> None:
        for _ in range(50):
            stock(b"x").result()
        assert len(echo.threads) <= 2  # the first ones may find the client still talking

    def test_calls_on_one_connection_do_not_wait_for_one_another(self, stock: Callable[..., Any], echo: Echo) -> None:
        long = stock(b"wait")
        assert echo.waiting.acquire(timeout=10)
        for _ in range(20):
            assert stock(b"short", rpc="ListModels").result() == b"short"
        assert not long.done()
        echo.go.set()
        assert long.result() == b"wait"
        assert stock(b"after").result() == b"after"

    def test_beyond_the_bound_calls_are_refused_at_once(self, stock: Callable[..., Any], echo: Echo) -> None:
        calls = [stock(b"wait") for _ in range(MOST_CALLS)]
        for _ in calls:
            assert echo.waiting.acquire(timeout=10)
        refused = [stock(b"x") for _ in range(30)]
        assert {call.code() for call in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        echo.go.set()
        assert [call.result() for call in calls] == [b"wait"] * MOST_CALLS
        assert stock(b"x").result() == b"x"

    def test_a_deadline_ends_a_running_call(self, stock: Callable[..., Any], echo: Echo, eventually: Any) -> None:
        assert stock(b"wait", seconds=0.2).code() is grpc.StatusCode.DEADLINE_EXCEEDED
        eventually(lambda: echo.over == ["Predict"])

    @pytest.mark.parametrize("timeout", [b"2777H", b"99999999H"])  # 116 days, 11 000 years
    def test_a_deadline_of_another_age_stops_nobody(
        self, path: Path, echo: Echo, monkeypatch: pytest.MonkeyPatch, timeout: bytes
    ) -> None:
        monkeypatch.setattr(connection, "_GREETING_SECONDS", 0.2)
        raw = Raw(path)
        raw.send(raw.request(1, b"wait", (b"grpc-timeout", timeout)))
        assert echo.waiting.acquire(timeout=10)
        time.sleep(0.5)  # no earlier deadline is left
        with contextlib.closing(Raw(path).socket) as other:  # only the overseer lets new clients in
            assert other.recv(1)
        echo.go.set()
        assert raw.answer(1)[1] == b"wait"
        raw.socket.close()

    def test_a_cancelled_call_is_over(self, stock: Callable[..., Any], echo: Echo, eventually: Any) -> None:
        call = stock(b"wait", seconds=None)
        assert echo.waiting.acquire(timeout=10)
        call.cancel()
        eventually(lambda: echo.over == ["Predict"])
        assert stock(b"x").result() == b"x"

    def test_compression_is_refused_and_the_ways_named(self, stock: Callable[..., Any]) -> None:
        call = stock(b"x" * 10_000, compression=grpc.Compression.Gzip)
        assert call.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "compressed" in call.details()
        assert stock(b"x").result() == b"x"

    def test_metadata_of_any_kind_is_tolerated(self, stock: Callable[..., Any]) -> None:
        metadata = (("trace-bin", bytes(range(256))), ("x", "y" * 2000))
        assert stock(b"x", metadata=metadata).result() == b"x"

    def test_too_long_is_refused_in_both_directions(self, stock: Callable[..., Any]) -> None:
        for message in (bytes(MOST_BYTES + 1), b"large%d" % (MOST_BYTES + 1)):
            call = stock(message)
            assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "MaxMessageBytes" in call.details()
        assert stock(b"x").result() == b"x"

    def test_an_unknown_call_is_unimplemented_whatever_it_carries(self, stock: Callable[..., Any]) -> None:
        assert stock(bytes(500_000), rpc="Ping").code() is grpc.StatusCode.UNIMPLEMENTED

    def test_many_threads_on_one_channel_get_their_own_answers(self, stock: Callable[..., Any]) -> None:
        wrong = []

        def work(number: int) -> None:
            for turn in range(100):
                message = b"%d-%d " % (number, turn) * (1 + turn * 37 % 400)
                try:
                    if stock(message).result() != message:
                        wrong.append(message)
                except grpc.RpcError as error:
                    wrong.append(str(error).encode())

        threads = [threading.Thread(target=work, args=(number,)) for number in range(MOST_CALLS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


class TestByHand:
    def test_a_call_split_anywhere_is_the_same_call(self, raw: Raw) -> None:
        for stream in range(1, 60, 2):
            content = raw.request(stream, b"hello")
            cut = stream * len(content) // 60
            raw.send(content[:cut])
            time.sleep(0.001)
            raw.send(content[cut:])
            assert raw.answer(stream)[1] == b"hello"

    def test_padding_priority_and_pieces_are_understood(self, raw: Raw) -> None:
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

    def test_pings_are_answered_also_while_a_call_runs(self, raw: Raw, echo: Echo) -> None:
        raw.send(raw.request(1, b"wait"))
        assert echo.waiting.acquire(timeout=10)
        raw.send(frames.frame(frames.PING, 0, 0, b"12345678"))
        acknowledged = next(
            payload for head, payload in raw.frames() if head.kind == frames.PING and head.flags == frames.ACK
        )
        assert acknowledged == b"12345678"
        echo.go.set()
        assert raw.answer(1)[1] == b"wait"

    def test_requests_sent_together_are_all_answered(self, raw: Raw) -> None:
        raw.send(b"".join(raw.request(stream, b"%d" % stream) for stream in (1, 3, 5, 7)))
        answered = set()
        for head, payload in raw.frames():
            if head.kind == frames.DATA:
                answered.add((head.stream, payload[5:]))
            if len(answered) == 4:
                break
        assert answered == {(1, b"1"), (3, b"3"), (5, b"5"), (7, b"7")}

    def test_an_answer_waits_for_the_window(self, raw: Raw) -> None:
        raw.send(frames.settings({Setting.INITIAL_WINDOW_SIZE: 1}) + raw.request(1, b"hello"))
        got = next(payload for head, payload in raw.frames() if head.kind == frames.DATA)
        raw.send(frames.window_update(1, 3))
        got += next(payload for head, payload in raw.frames() if head.kind == frames.DATA)
        raw.send(frames.window_update(1, 100))
        fields, rest = raw.answer(1)
        assert got + b"\5" + rest == b"\0\0\0\0\5hello"[:4] + b"\5" + rest
        assert fields[b"grpc-status"] == b"0"

    @pytest.mark.parametrize(
        ("changes", "status"),
        [
            ([(b":method", b"GET")], b"405"),
            ([(b"content-type", b"text/html")], b"415"),
            ([(b"content-type", b"")], b"415"),
        ],
    )
    def test_what_is_no_grpc_gets_an_http_status(
        self, raw: Raw, changes: list[tuple[bytes, bytes]], status: bytes
    ) -> None:
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
        self, raw: Raw, message: bytes | None, flags: int, changes: list[tuple[bytes, bytes]], code: Code
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
    def test_requests_of_other_than_one_message_are_refused(self, raw: Raw, content: bytes, code: Code) -> None:
        block = raw.encoder.encode(HEADERS)
        raw.send(frames.frame(frames.HEADERS, frames.END_HEADERS, 1, block))
        raw.send(frames.frame(frames.DATA, frames.END_STREAM, 1, content))
        assert int(raw.answer(1)[0][b"grpc-status"]) == code

    def test_a_request_that_does_not_come_whole_in_time_is_told_so(self, raw: Raw) -> None:
        block = raw.encoder.encode([*HEADERS, (b"grpc-timeout", b"50m")])
        raw.send(frames.frame(frames.HEADERS, frames.END_HEADERS, 1, block))
        raw.send(frames.frame(frames.DATA, 0, 1, b"\0\0\0\0\5hel"))
        assert int(raw.answer(1)[0][b"grpc-status"]) == Code.DEADLINE_EXCEEDED
        raw.send(frames.frame(frames.DATA, frames.END_STREAM, 1, b"lo") + raw.request(3, b"x"))
        assert raw.answer(3)[1] == b"x"

    def test_announced_messages_do_not_add_up_beyond_the_bound(self, raw: Raw) -> None:
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
        self, raw: Raw, echo: Echo, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., None]
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
        self, raw: Raw, monkeypatch: pytest.MonkeyPatch, part: bytes
    ) -> None:
        monkeypatch.setattr(exchange, "_RECEIVING_SECONDS", 0.2)
        raw.send(frames.frame(frames.HEADERS, frames.END_HEADERS, 1, raw.encoder.encode(HEADERS)))
        raw.send(frames.frame(frames.DATA, 0, 1, b"\0" + MOST_BYTES.to_bytes(4, "big") + part))
        fields = raw.answer(1)[0]
        assert int(fields[b"grpc-status"]) == Code.RESOURCE_EXHAUSTED
        assert b"whole within a minute" in fields[b"grpc-message"]
        raw.send(frames.frame(frames.DATA, frames.END_STREAM, 1, bytes(10)) + raw.request(3, b"x"))
        assert raw.answer(3)[1] == b"x"

    def test_a_call_that_is_late_while_its_message_begins_keeps_no_room(
        self, raw: Raw, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begin = exchange.Exchange._begin

        def late(one: exchange.Exchange, reserve: Callable[[int], bool]) -> Answer | None:
            time.sleep(0.3)  # the overseer refuses it meanwhile
            return begin(one, reserve)

        monkeypatch.setattr(exchange.Exchange, "_begin", late)
        raw.send(raw.request(1, b"hello", (b"grpc-timeout", b"50m")))
        assert int(raw.answer(1)[0][b"grpc-status"]) == Code.DEADLINE_EXCEEDED
        raw.send(raw.request(3, b"x"))  # the server's room is looked at when it stops
        assert raw.answer(3)[1] == b"x"

    def test_a_call_whose_connection_faults_before_it_runs_leaves_nothing(self, raw: Raw) -> None:
        raw.send(raw.request(1, b"x") + frames.frame(frames.PING, 0, 1, bytes(8)))
        assert raw.ending() is ErrorCode.PROTOCOL_ERROR  # the server's counts are looked at when it stops

    def test_streams_without_end_are_refused_by_number(self, raw: Raw) -> None:
        count = MOST_CALLS + 101
        for stream in range(1, 2 * count, 2):
            raw.send(frames.frame(frames.HEADERS, frames.END_HEADERS, stream, raw.encoder.encode(HEADERS)))
        refused = next(head.stream for head, _ in raw.frames() if head.kind == frames.RST_STREAM)
        assert refused == 2 * count - 1

    def test_streams_opened_and_cancelled_at_once_leave_nothing(self, raw: Raw) -> None:
        def send() -> None:
            for stream in range(1, 4000, 2):
                raw.send(raw.request(stream, b"x") + frames.rst_stream(stream, ErrorCode.NO_ERROR))
            raw.send(raw.request(4001, b"last"))

        sender = threading.Thread(target=send)
        sender.start()
        fields, message = raw.answer(4001)
        sender.join()
        assert message == b"last" or int(fields[b"grpc-status"]) == Code.RESOURCE_EXHAUSTED


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
    "a short PING": (after_a_request(frames.frame(frames.PING, 0, 0, b"123")), ErrorCode.FRAME_SIZE_ERROR),
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


class TestFaults:
    @pytest.mark.parametrize("name", list(FAULTS))
    def test_a_fault_ends_its_connection_with_its_reason_and_no_other(
        self, raw: Raw, stock: Callable[..., Any], name: str
    ) -> None:
        assert stock(b"before").result() == b"before"
        content, code = FAULTS[name]
        raw.send(content(raw))
        assert raw.ending() is code
        assert stock(b"after").result() == b"after"

    @pytest.mark.parametrize("content", [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01" + bytes(200)])
    def test_another_protocol_is_refused(self, path: Path, content: bytes) -> None:
        raw = Raw(path, greet=False)
        raw.send(content)
        assert raw.ending() is ErrorCode.PROTOCOL_ERROR
        raw.socket.close()

    def test_the_first_frame_must_be_settings(self, path: Path) -> None:
        raw = Raw(path, greet=False)
        raw.send(frames.PREFACE + frames.frame(frames.PING, 0, 0, bytes(8)))
        assert raw.ending() is ErrorCode.PROTOCOL_ERROR
        raw.socket.close()

    def test_who_says_nothing_is_let_go(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(connection, "_GREETING_SECONDS", 0.1)
        raw = Raw(path, greet=False)
        raw.send(frames.PREFACE[:10])
        assert raw.ending() is None
        raw.socket.close()

    @pytest.mark.parametrize("what", ["head", "payload", "continuation", "request", "small frames", "answer"])
    def test_what_is_begun_and_trickles_is_ended(self, path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
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

    def test_who_goes_on_is_never_ended(self, path: Path, echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
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
        self, path: Path, echo: Echo, caplog: pytest.LogCaptureFixture, where: str, calls_at_once: int
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

    def test_a_client_that_vanishes_is_no_longer_worked_for(
        self, raw: Raw, echo: Echo, eventually: Callable[..., None]
    ) -> None:
        raw.send(raw.request(1, b"wait"))
        assert echo.waiting.acquire(timeout=10)
        raw.socket.close()
        eventually(lambda: echo.over == ["Predict"])

    def test_a_client_that_reads_nothing_does_not_hold_up_the_others(self, raw: Raw, stock: Callable[..., Any]) -> None:
        raw.send(frames.settings({Setting.INITIAL_WINDOW_SIZE: 2**31 - 1}) + frames.window_update(0, 2**30))
        raw.send(raw.request(1, b"large%d" % MOST_BYTES))  # more than the socket holds
        for _ in range(10):
            assert stock(b"x").result() == b"x"
        assert len(raw.answer(1)[1]) == MOST_BYTES

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_damaged_bytes_end_one_connection_at_most(self, path: Path, echo: Echo, data: st.DataObject) -> None:
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


class TestManyClients:
    def test_answers_that_nobody_takes_have_one_bound_for_all(
        self, path: Path, stock: Callable[..., Any], eventually: Callable[..., None]
    ) -> None:
        large = b"large%d" % (MOST_BYTES - 1000)  # more than the windows of those who never widen them
        clients = [Raw(path) for _ in range(5)]
        for client in clients[:4]:
            client.send(client.request(1, large))
            assert any(head.kind == frames.HEADERS for head, _ in client.frames())  # the answer has begun
        clients[4].send(clients[4].request(1, large))
        fields = clients[4].answer(1)[0]
        assert int(fields[b"grpc-status"]) == Code.RESOURCE_EXHAUSTED
        assert b"no room" in fields[b"grpc-message"]
        assert stock(b"x").result() == b"x"
        clients[4].send(clients[4].request(3, b"x"))
        assert clients[4].answer(3)[1] == b"x"
        for client in clients:
            client.socket.close()
        eventually(lambda: stock(large).exception() is None)

    def test_the_one_idle_longest_makes_room(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server, "_MOST_CONNECTIONS", 3)
        clients = []
        for number in range(5):
            clients.append(client := Raw(path))
            client.send(client.request(1, b"%d" % number))
            assert client.answer(1)[1] == b"%d" % number
        assert clients[0].ending() is ErrorCode.NO_ERROR
        assert clients[1].ending() is ErrorCode.NO_ERROR
        for client in clients[2:]:
            client.send(client.request(3, b"x"))
            assert client.answer(3)[1] == b"x"
        for client in clients:
            client.socket.close()

    def test_when_all_are_busy_a_new_one_is_refused(
        self, path: Path, echo: Echo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(server, "_MOST_CONNECTIONS", 1)
        busy = Raw(path)
        busy.send(busy.request(1, b"wait"))
        assert echo.waiting.acquire(timeout=10)
        refused = Raw(path, greet=False)
        assert refused.ending() is None
        echo.go.set()
        assert busy.answer(1)[1] == b"wait"
        for client in (busy, refused):
            client.socket.close()

    def test_threads_and_descriptors_go_with_their_clients(self, path: Path, eventually: Callable[..., None]) -> None:
        def count() -> int:
            return len(list(DESCRIPTORS.iterdir()))

        before = count()
        for _ in range(200):
            client = Raw(path)
            client.send(client.request(1, b"x"))
            assert client.answer(1)[1] == b"x"
            client.socket.close()
        eventually(lambda: count() <= before)


class TestEnd:
    def test_what_runs_is_answered_and_new_calls_are_not_taken(self, echo: Echo, tmp_path: Path) -> None:
        made = Http2Server(echo, most_bytes=MOST_BYTES, most_calls=MOST_CALLS)  # type: ignore[arg-type] # as much as it uses
        made.listen(tmp_path / "s")
        made.start()
        raw, idle = Raw(tmp_path / "s"), Raw(tmp_path / "s")
        idle.send(idle.request(1, b"x"))
        assert idle.answer(1)[1] == b"x"
        raw.send(raw.request(1, b"wait"))
        assert echo.waiting.acquire(timeout=10)
        done = made.stop(20.0)
        last = next(payload[:4] for head, payload in raw.frames() if head.kind == frames.GOAWAY)
        assert last == b"\0\0\0\1"
        assert idle.ending() is ErrorCode.NO_ERROR
        assert not done.is_set()
        raw.send(raw.request(3, b"late"))
        echo.go.set()
        assert raw.answer(1)[1] == b"wait"
        assert done.wait(10)
        assert raw.ending() is None
        for client in (raw, idle):
            client.socket.close()

    def test_what_takes_longer_than_the_grace_is_ended(
        self, echo: Echo, tmp_path: Path, eventually: Callable[..., None]
    ) -> None:
        made = Http2Server(echo, most_bytes=MOST_BYTES, most_calls=MOST_CALLS)  # type: ignore[arg-type] # as much as it uses
        made.listen(tmp_path / "s")
        made.start()
        raw = Raw(tmp_path / "s")
        raw.send(raw.request(1, b"wait"))
        assert echo.waiting.acquire(timeout=10)
        assert made.stop(0.1).wait(10)
        eventually(lambda: echo.over == ["Predict"])
        assert raw.ending() is ErrorCode.NO_ERROR
        raw.socket.close()
