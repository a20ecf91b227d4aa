# SPDX-License-Identifier: Apache-2.0
"""Both ends of a connection as the tests need them: a service that echoes, and a client by hand."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hpack

from edge_agent.http2 import frames
from edge_agent.http2.frames import ErrorCode
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
