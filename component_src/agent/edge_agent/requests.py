# SPDX-License-Identifier: Apache-2.0
"""Turns a CaptureData request into a capture, or refuses it."""

from __future__ import annotations

import base64
import binascii
import re
import time
from typing import TYPE_CHECKING

from edge_agent import inputs
from edge_agent.captures import capture
from edge_agent.errors import InvalidArgumentError, OutOfRangeError
from edge_contract import agent_pb2, tensors, wire

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_agent.models import LoadedModel
    from edge_agent.shared_memory import Reading

_CAPTURE_ID = re.compile(r"[A-Za-z0-9._:-]{1,255}")
_TOLERANCE_SECONDS = 5  # by which a client's clock may go before ours
_NANOS = 1_000_000_000
_LONGEST_NAME = 255


def to_capture(request: agent_pb2.CaptureDataRequest, model: LoadedModel, *, memory: Reading) -> capture.Capture:
    """Check a request and copy its data.

    Raises:
        InvalidArgumentError: Its id, timestamp, a tensor or auxiliary data is not well formed, or shared memory cannot
            be read.
        TensorError: The parts of a tensor contradict each other.
        OutOfRangeError: Its timestamp lies in the future.
    """
    if not _CAPTURE_ID.fullmatch(request.capture_id):
        raise InvalidArgumentError(
            f"capture id {request.capture_id!r:.300}: expected 1 to 255 of A-Z a-z 0-9 . _ : -, a UUID for example"
        )
    header = capture.Header(
        capture_id=request.capture_id,
        model_name=model.name,
        model_version=model.version,
        inference_time=_inference_time(request),
    )
    items = [
        *_tensors(capture.INPUTS, request.input_tensors, model.session.inputs, memory),
        *_tensors(capture.OUTPUTS, request.output_tensors, model.session.outputs, memory),
        *_auxiliary(capture.AUXILIARY_INPUTS, "Input", request.inputs, memory),
        *_auxiliary(capture.AUXILIARY_OUTPUTS, "Output", request.outputs, memory),
    ]
    return capture.Capture(header=header, items=items)


def _inference_time(request: agent_pb2.CaptureDataRequest) -> int:
    now = time.time()
    stamp = request.inference_timestamp
    if not (0 <= stamp.nanos < _NANOS and stamp.seconds >= 0):
        raise InvalidArgumentError(
            f"inference_timestamp: expected seconds of 0 or more and nanos from 0 to {_NANOS - 1}, "
            f"got {stamp.seconds} and {stamp.nanos}"
        )
    if not (stamp.seconds or stamp.nanos):
        return int(now)
    if stamp.seconds + stamp.nanos / _NANOS > now + _TOLERANCE_SECONDS:
        raise OutOfRangeError(
            f"inference_timestamp: expected at most {now + _TOLERANCE_SECONDS:.0f} ({_TOLERANCE_SECONDS} s after the "
            f"device's clock), got {stamp.seconds}"
        )
    return stamp.seconds


def _tensors(
    kind: str, given: Sequence[agent_pb2.Tensor], specs: Sequence[tensors.TensorSpec], memory: Reading
) -> list[capture.Item]:
    by_name = {spec.name: spec for spec in specs}
    items = []
    for position, tensor in enumerate(map(wire.from_message, given)):
        in_order = specs[position] if position < len(specs) else None
        spec = by_name.get(tensors.decode_name(tensor.name), in_order)
        data = inputs.read(tensor, position=position, model=spec, memory=memory)
        # The capture outlives the call, after which the client writes its next frame into shared memory.
        items.append(capture.Item(kind, data.spec.name, str(data.spec), "NONE", bytes(data.data)))
    return items


def _auxiliary(kind: str, mode: str, given: Sequence[agent_pb2.AuxiliaryData], memory: Reading) -> list[capture.Item]:
    items = []
    for position, one in enumerate(given, start=1):
        what = f"auxiliary data {mode}-{position} ({one.name!r:.100})"
        inline = one.WhichOneof("data") == "byte_data"
        place = wire.to_shared_memory(one.shared_memory_handle) if one.HasField("shared_memory_handle") else None
        data = bytes(inputs.content(one.byte_data if inline else None, place, what=what, memory=memory))
        if one.encoding not in agent_pb2.Encoding.values() or len(one.name) > _LONGEST_NAME:
            raise InvalidArgumentError(
                f"{what}: expected an encoding from 0 to 3 and a name of at most {_LONGEST_NAME} characters, "
                f"got {int(one.encoding)} and {len(one.name)} characters"
            )
        encoding = agent_pb2.Encoding.Name(one.encoding)
        if one.encoding == agent_pb2.BASE64:
            try:
                base64.b64decode(data, validate=True)
            except binascii.Error as error:
                raise InvalidArgumentError(f"{what}: expected base64, as its encoding says: {error}") from None
        items.append(capture.Item(kind, f"{mode}-{position}", one.name, encoding, data))
    return items
