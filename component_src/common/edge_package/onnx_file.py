# SPDX-License-Identifier: Apache-2.0
"""What an ONNX file says about itself, without the ``onnx`` package, which is neither for devices nor for synth.

Two questions are asked of a model: does it keep weights in another file, and which tensors does it take and give? Both
are answered by walking the few fields of the protobuf encoding that lead there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH = 64
_UINT32 = 0xFFFF_FFFF
# Field numbers as in onnx.proto.
_MODEL_GRAPH, _MODEL_OPSETS = 7, 8
_GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 5, 11, 12
_DATA_LOCATION, _EXTERNAL = 14, 1
_TENSOR_NAME = 8
# Message -> field number -> the message in that field.
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
# TensorProto.DataType by number, in NumPy's words.
_ELEMENTS = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    8: "string",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    16: "bfloat16",
}


class OnnxError(ValueError):
    """The bytes are no ONNX model."""


@dataclass(frozen=True)
class GraphTensor:
    """A tensor that a model takes or gives.

    Attributes:
        name: its name in the graph.
        element: the type of its elements in NumPy's words, or what else it is.
        shape: its lengths, -1 for any; None: the model does not say.
    """

    name: str
    element: str
    shape: tuple[int, ...] | None

    def __str__(self) -> str:
        lengths = "..." if self.shape is None else ", ".join("?" if n < 0 else str(n) for n in self.shape)
        return f"{self.name}: {self.element} [{lengths}]"


@dataclass(frozen=True)
class Signature:
    """What a model takes and what it gives, in its order; weights, which older files list as inputs, are left out."""

    inputs: tuple[GraphTensor, ...]
    outputs: tuple[GraphTensor, ...]


def read_signature(model: bytes) -> Signature:
    """Read the inputs and outputs of a model.

    Raises:
        OnnxError: The bytes are no whole ONNX model.
    """
    graph: memoryview | None = None
    opsets = 0
    for number, value in _fields(memoryview(model)):
        if not isinstance(value, int):
            graph = value if number == _MODEL_GRAPH else graph
            opsets += number == _MODEL_OPSETS
    if graph is None or not opsets:
        missing = "graph" if graph is None else "operator set"
        raise OnnxError(f"expected a model with a graph and an operator set, got {len(model)} bytes without {missing}")
    weights, inputs, outputs = set(), [], []
    for number, value in _fields(graph):
        if isinstance(value, int):
            continue
        if number == _GRAPH_INITIALIZER:
            weights.add(_text(value, _TENSOR_NAME))
        elif number == _GRAPH_INPUT:
            inputs.append(_tensor(value))
        elif number == _GRAPH_OUTPUT:
            outputs.append(_tensor(value))
    return Signature(tuple(tensor for tensor in inputs if tensor.name not in weights), tuple(outputs))


def has_external_data(model: bytes) -> bool:
    """Whether any tensor of the model keeps its data in another file.

    ONNX Runtime, given a model as bytes, reads such weights from the process's working directory, up to 1.19 without
    any way to forbid it. They would be loaded unverified, so models that have them are refused.

    Raises:
        OnnxError: The bytes do not follow the protobuf encoding.
    """
    return _search(memoryview(model), "model", 0)


def _search(message: memoryview, kind: str, depth: int) -> bool:
    if depth > _MAX_DEPTH:
        raise OnnxError(f"expected at most {_MAX_DEPTH} nested messages, got more")
    for number, value in _fields(message):
        if isinstance(value, int):
            # protobuf keeps the lower half of a number that is too long for an enum, and so must who looks first.
            if kind == "tensor" and number == _DATA_LOCATION and value & _UINT32 == _EXTERNAL:
                return True
        elif number in _CHILDREN[kind] and _search(value, _CHILDREN[kind][number], depth + 1):
            return True
    return False


def _tensor(value_info: memoryview) -> GraphTensor:
    # ValueInfoProto: name = 1, type = 2; TypeProto: tensor_type = 1; its Tensor: elem_type = 1, shape = 2.
    name = _text(value_info, 1)
    tensor_type = _message(_message(value_info, 2), 1)
    if tensor_type is None:
        return GraphTensor(name, "no tensor", None)
    number = next((value for field, value in _fields(tensor_type) if field == 1 and isinstance(value, int)), 0)
    shape = _message(tensor_type, 2)
    return GraphTensor(name, _ELEMENTS.get(number, f"element type {number}"), None if shape is None else _shape(shape))


def _shape(message: memoryview) -> tuple[int, ...]:
    # TensorShapeProto: dim = 1; Dimension: dim_value = 1, or a name, or nothing when it may have any length.
    lengths = []
    for field, dimension in _fields(message):
        if field == 1 and not isinstance(dimension, int):
            values = (value for number, value in _fields(dimension) if number == 1 and isinstance(value, int))
            lengths.append(next((value for value in values if value < 1 << 63), -1))
    return tuple(lengths)


def _message(parent: memoryview | None, field: int) -> memoryview | None:
    found = None
    for number, value in _fields(parent) if parent is not None else ():
        if number == field and not isinstance(value, int):
            found = value
    return found


def _text(message: memoryview, field: int) -> str:
    found = _message(message, field)
    return "" if found is None else bytes(found).decode(errors="replace")


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    position, end = 0, len(message)
    while position < end:
        tag, position = _varint(message, position)
        if tag > _UINT32:  # some readers keep its lower half, others refuse it
            raise OnnxError(f"expected a field's number before byte {position}, got {tag >> 3}")
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
