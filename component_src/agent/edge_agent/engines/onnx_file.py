# SPDX-License-Identifier: Apache-2.0
"""Looks for weights outside of an ONNX file.

ONNX Runtime, given a model as bytes, reads such weights from the process's working directory, up to 1.19 without any
way to forbid it. They would be loaded unverified, so the agent refuses models that have them. The ``onnx`` package is
not for devices; this walks the few fields of the protobuf encoding that lead to a tensor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH = 64
_DATA_LOCATION, _EXTERNAL = 14, 1
# Message -> field number -> the message in that field; numbers as in onnx.proto.
_CHILDREN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}


class OnnxError(ValueError):
    """The bytes are no ONNX model."""


def has_external_data(model: bytes) -> bool:
    """Whether any tensor of the model keeps its data in another file.

    Raises:
        OnnxError: The bytes do not follow the protobuf encoding.
    """
    return _search(memoryview(model), "model", 0)


def _search(message: memoryview, kind: str, depth: int) -> bool:
    if depth > _MAX_DEPTH:
        raise OnnxError(f"expected at most {_MAX_DEPTH} nested messages, got more")
    for number, value in _fields(message):
        if isinstance(value, int):
            if kind == "tensor" and number == _DATA_LOCATION and value == _EXTERNAL:
                return True
        elif number in _CHILDREN[kind] and _search(value, _CHILDREN[kind][number], depth + 1):
            return True
    return False


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    position, end = 0, len(message)
    while position < end:
        tag, position = _varint(message, position)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, position = _varint(message, position)
            yield number, value
            continue
        if wire == _BYTES:
            length, position = _varint(message, position)
        elif wire in {_FIXED64, _FIXED32}:
            length = 8 if wire == _FIXED64 else 4
        else:
            raise OnnxError(f"expected a protobuf message, got wire type {wire} at byte {position}")
        if position + length > end:
            raise OnnxError(f"expected {length} bytes at byte {position}, got {end - position}: the file is cut")
        if wire == _BYTES:
            yield number, message[position : position + length]
        position += length


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            raise OnnxError("expected a number, got the end: the file is cut")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 # the continuation bit of the encoding
            return value, position
    raise OnnxError(f"expected a number of at most 10 bytes before byte {position}, got a longer one")
