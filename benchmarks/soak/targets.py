# SPDX-License-Identifier: Apache-2.0
"""What hostile bytes may do: be read as protobuf reads them, or be refused. Anything else is a finding.

``make soak`` gives these to a fuzzer that is guided by coverage; the tests give them to hypothesis.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import hpack
from google.protobuf.message import DecodeError

from edge_agent import inputs, requests
from edge_agent.captures import capture
from edge_agent.errors import RefusedError
from edge_agent.http2 import frames
from edge_agent.http2.budget import Budget
from edge_agent.http2.calls import Calls
from edge_agent.http2.reader import FrameReader
from edge_agent.http2.sink import Sink
from edge_agent.http2.source import Source
from edge_agent.service import Answer
from edge_agent.shared_memory import Segments
from edge_contract import agent_pb2, sysv, wire
from edge_contract.tensors import TensorError, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SEGMENT_BYTES = 256
_PATH = b"/AWS.SageMaker.Edge.Agent/Predict"
_INPUTS = (TensorSpec("x", agent_pb2.FLOAT32, (-1, 4)), TensorSpec("mask", agent_pb2.INT64, (2, 2)))
_OUTPUTS = (TensorSpec("y", agent_pb2.UINT8, (3,)),)


@dataclasses.dataclass(frozen=True)
class _Engine:
    """What a model takes and gives; nothing is run."""

    inputs: tuple[TensorSpec, ...] = _INPUTS
    outputs: tuple[TensorSpec, ...] = _OUTPUTS


@dataclasses.dataclass(frozen=True)
class _Model:
    """As much of a loaded model as a capture asks for."""

    name: str = "digits"
    version: str = "1.0"
    session: _Engine = _Engine()


@functools.lru_cache(maxsize=1)
def segments() -> Segments:
    """The agent's attachments."""
    return Segments(sweep_seconds=3600)


@functools.lru_cache(maxsize=1)
def segment_id() -> int:
    """A segment that exists; like a client's it goes away with the last attachment, which is ours."""
    made = sysv.create(_SEGMENT_BYTES, 0o600)
    sysv.attach(made, read_only=True)
    sysv.remove(made)
    sysv.set_mode(made, 0o400)
    return made


def codec(message: bytes) -> None:
    """Predict's messages are read, and written again, as protobuf does it."""
    try:
        expected = agent_pb2.PredictRequest.FromString(message)
    except DecodeError:
        expected = None
    try:
        found = wire.parse_predict_request(message)
    except wire.WireError:
        found = None
    if (found is None) != (expected is None):
        raise AssertionError(f"{message.hex()}: refused by {'the codec' if found is None else 'protobuf'} alone")
    if found is None or expected is None:
        return
    tensors = [wire.from_message(tensor) for tensor in expected.tensors]
    if found != wire.PredictRequest(expected.name, expected.handle, tensors):
        raise AssertionError(f"{message.hex()}: the codec reads {found}, protobuf {expected}")
    answer = wire.predict_response(found.tensors)
    if wire.parse_predict_response(answer) != found.tensors:
        raise AssertionError(f"{message.hex()}: written and read again it is another one")


def predict(message: bytes) -> None:
    """The tensors of a prediction fit the model or are refused."""
    try:
        request = wire.parse_predict_request(message)
        with segments().reading() as memory:
            found = inputs.feeds(request.tensors, _INPUTS, memory=memory)
            for spec in _INPUTS:
                array = found[spec.name]
                array.sum()  # each byte of it can be read
                fits = len(array.shape) == len(spec.shape) and all(
                    want in {-1, have} for have, want in zip(array.shape, spec.shape, strict=False)
                )
                if array.dtype != spec.dtype or not fits:
                    raise AssertionError(f"{message.hex()}: {spec.name} is {array.dtype} {array.shape}, not {spec}")
    except (RefusedError, TensorError, wire.WireError):
        return


def capture_data(message: bytes) -> None:
    """A capture is refused, or survives the spool as it is."""
    try:
        request = agent_pb2.CaptureDataRequest.FromString(message)
        with segments().reading() as memory:
            taken = requests.to_capture(request, _Model(), memory=memory)  # type: ignore[arg-type] # as much as it needs
    except (RefusedError, TensorError, DecodeError):
        return
    encoded = capture.encode(taken)
    for index, item in enumerate(capture.decode(encoded.content, payload=lambda index: Path(str(index))).items):
        data = encoded.payloads[int(item.data.path.name)] if isinstance(item.data, capture.Payload) else item.data
        if dataclasses.replace(item, data=data) != taken.items[index]:
            raise AssertionError(f"{message.hex()}: the spool gives back another capture")


class _Nowhere:
    """A socket whose other end takes everything."""

    def setsockopt(self, *_: object) -> None:
        """As a socket has it."""

    def sendmsg(self, pieces: Sequence[bytes]) -> int:
        """All of it is gone."""
        return sum(map(len, pieces))

    def shutdown(self, _: int) -> None:
        """As a socket has it."""


_ANSWERS_BYTES = 1 << 20


class _Limits:
    """A server's bounds, and what is used of them."""

    most_bytes = 1 << 16
    most_calls = 2

    def __init__(self) -> None:
        self.rpcs: Mapping[bytes, str] = {_PATH: "Predict"}
        self.running = self.reserved = 0
        self.timed: set[object] = set()
        self.expect, self.expect_no_more = self.timed.add, self.timed.discard

    def begin_call(self) -> bool:
        """See ``calls.Limits``."""
        if self.running >= self.most_calls:
            return False
        self.running += 1
        return True

    def end_call(self) -> None:
        """See ``calls.Limits``."""
        self.running -= 1

    def reserve(self, count: int) -> bool:
        """See ``calls.Limits``."""
        self.reserved += count
        return True

    def release(self, count: int) -> None:
        """See ``calls.Limits``."""
        self.reserved -= count

    def run(self, work: Callable[[], None]) -> None:
        """See ``calls.Limits``."""
        work()


def http2(message: bytes) -> None:
    """A client's bytes after its greeting are calls, a fault, or the end; nothing stays reserved."""
    left = memoryview(message)

    def receive_into(target: memoryview) -> int:
        nonlocal left
        size = min(len(target), len(left))
        target[:size] = left[:size]
        left = left[size:]
        return size

    limits, answers = _Limits(), Budget(_ANSWERS_BYTES)
    sink = Sink(_Nowhere(), answers)  # type: ignore[arg-type] # as much of a socket as it uses
    calls = Calls(limits, sink)
    reader = FrameReader(Source(receive_into), sink, calls)
    try:
        while True:
            exchange = reader.next()
            if exchange is not None:
                limits.end_call()
                calls.finish(exchange, Answer(bytes(exchange.take_message())))
    except (EOFError, frames.ConnectionFaultError):
        calls.cancel_all()
    sink.close()
    if limits.running or limits.reserved or limits.timed or answers.left != _ANSWERS_BYTES:
        raise AssertionError(f"{message.hex()}: left {vars(limits)}")


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "codec": codec,
    "predict": predict,
    "capture": capture_data,
    "http2": http2,
}


def seeds() -> dict[str, list[bytes]]:
    """Good messages for each target, from which the bad ones are made."""
    metadata = agent_pb2.TensorMetadata(name=b"x", data_type=agent_pb2.FLOAT32, shape=[2, 4])
    mask = agent_pb2.TensorMetadata(name=b"mask", data_type=agent_pb2.INT64, shape=[2, 2])
    place = agent_pb2.SharedMemoryHandle(segment_id=segment_id(), offset=8, size=32)
    inline = [
        agent_pb2.Tensor(tensor_metadata=metadata, byte_data=bytes(32)),
        agent_pb2.Tensor(tensor_metadata=mask, byte_data=bytes(32)),
    ]
    shared = [
        agent_pb2.Tensor(tensor_metadata=metadata, shared_memory_handle=place),
        agent_pb2.Tensor(shared_memory_handle=agent_pb2.SharedMemoryHandle(segment_id=segment_id())),
    ]
    predictions = [
        agent_pb2.PredictRequest(name="digits", handle="digits", tensors=tensors).SerializeToString()
        for tensors in (inline, shared, [])
    ]
    auxiliary = [
        agent_pb2.AuxiliaryData(name="jpg", encoding=agent_pb2.BASE64, byte_data=b"YWJj"),
        agent_pb2.AuxiliaryData(name="json", encoding=agent_pb2.JSON, shared_memory_handle=place),
    ]
    captures = [
        agent_pb2.CaptureDataRequest(
            model_name="digits",
            capture_id="a-1",
            inference_timestamp=agent_pb2.Timestamp(seconds=1_700_000_000, nanos=5),
            input_tensors=tensors,
            output_tensors=tensors,
            inputs=auxiliary,
            outputs=auxiliary,
        ).SerializeToString()
        for tensors in (inline, shared)
    ]
    return {"codec": predictions, "predict": predictions, "capture": captures, "http2": _connections()}


def _connections() -> list[bytes]:
    """What clients send after their greeting: calls in one piece and in several, and all that they may say besides."""
    encoder = hpack.Encoder()
    fields = [
        (b":method", b"POST"),
        (b":path", _PATH),
        (b"content-type", b"application/grpc"),
        (b"grpc-timeout", b"10S"),
        (b"trace-bin", b"\x00\xff"),
    ]

    def call(stream: int, message: bytes) -> bytes:
        begin = frames.frame(frames.HEADERS, frames.END_HEADERS, stream, encoder.encode(fields))
        content = b"\0" + len(message).to_bytes(4, "big") + message
        return begin + frames.frame(frames.DATA, frames.END_STREAM, stream, content)

    block = encoder.encode(fields)
    pieces = [
        frames.settings({frames.Setting.INITIAL_WINDOW_SIZE: 7, frames.Setting.MAX_FRAME_SIZE: 2**14}),
        frames.frame(frames.HEADERS, frames.PADDED | frames.WITH_PRIORITY, 5, b"\1" + bytes(5) + block[:5] + b"\0"),
        frames.frame(frames.CONTINUATION, frames.END_HEADERS, 5, block[5:]),
        frames.frame(frames.DATA, frames.PADDED, 5, b"\2\0\0\0\0\3ab\0\0"),
        frames.frame(frames.PING, 0, 0, bytes(8)),
        frames.frame(frames.DATA, frames.END_STREAM, 5, b"c"),
        frames.window_update(5, 100),
        frames.window_update(0, 100),
        frames.frame(frames.PRIORITY, 0, 5, bytes(5)),
        frames.rst_stream(5, frames.ErrorCode.NO_ERROR),
        frames.goaway(0, frames.ErrorCode.NO_ERROR),
    ]
    return [call(1, b"hello") + call(3, b"again"), b"".join(pieces), call(7, b""), call(9, b"x" * 200)]
