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

from google.protobuf.message import DecodeError

from edge_agent import inputs, requests
from edge_agent.captures import capture
from edge_agent.errors import RefusedError
from edge_agent.shared_memory import Segments
from edge_contract import agent_pb2, sysv, wire
from edge_contract.tensors import TensorError, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

_SEGMENT_BYTES = 256
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


TARGETS: Mapping[str, Callable[[bytes], None]] = {"codec": codec, "predict": predict, "capture": capture_data}


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
    return {"codec": predictions, "predict": predictions, "capture": captures}
