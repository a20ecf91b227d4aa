# SPDX-License-Identifier: Apache-2.0
"""Predict's messages, read and written without protobuf's copies of the tensors.

A tensor's bytes stay where they are in the received message, and are copied once into the sent one. This agrees with
the code that protobuf generates from ``agent.proto``: it reads the same values out of the same messages and refuses the
same ones, and on top of those the ones with more tensors or dimensions than any model has. The other messages are small
or rare; they go through ``agent_pb2``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Union

from edge_contract import agent_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


#: What holds a tensor's bytes; a view is one of single bytes.
Buffer = Union[bytes, memoryview]

_VARINT, _FIXED64, _BYTES, _GROUP, _END_GROUP, _FIXED32 = range(6)
_LONGEST_NUMBER, _LONGEST_TAG = 10, 5  # in bytes, as protobuf has it
_CONTINUES = 0x80
_LEAST_TAG = 1 << 3
_MOST = 10_000  # tensors of a request, dimensions of a tensor: beyond any model, so that a message costs no minutes
_LARGEST_TAG = 2**32 - 1
_DEEPEST = 100  # messages and groups inside one another, protobuf's own bound


class WireError(ValueError):
    """The bytes are no message of the contract."""


class SharedMemory(NamedTuple):
    """Where a tensor lies in a System V segment; the numbers are as they came, from 0 to 2**64 - 1.

    Attributes:
        segment_id: What shmget returned.
        offset: Bytes from the segment's start.
        size: Bytes; 0 when type and shape say it.
    """

    segment_id: int
    offset: int = 0
    size: int = 0


class Tensor(NamedTuple):
    """A tensor of a message; at most one of ``data`` and ``shared_memory`` is there.

    Attributes:
        name: UTF-8 as a rule.
        data_type: A number of ``agent_pb2.DataType`` or any other that came; 0 also when none came.
        shape: The dimensions; empty also when none came.
        described: Whether there was metadata at all.
        data: The elements.
        shared_memory: Where the elements are instead.
    """

    name: bytes = b""
    data_type: int = 0
    shape: tuple[int, ...] = ()
    described: bool = False
    data: Buffer | None = None
    shared_memory: SharedMemory | None = None


class PredictRequest(NamedTuple):
    """A prediction's model, by either of its names, and its inputs."""

    name: str
    handle: str
    tensors: Sequence[Tensor]


# --- reading --------------------------------------------------------------------------------------------------------
def parse_predict_request(message: Buffer) -> PredictRequest:
    """Read a request; its tensors are views of ``message``.

    Raises:
        WireError: It is no such message.
    """
    name = handle = ""
    tensors = []
    whole = memoryview(message)
    for number, wire, value in _fields(whole, depth=1):
        if wire != _BYTES:
            continue
        if number == 1:
            name = _text(value, "name")
        elif number == 2:  # noqa: PLR2004 # here and below: field numbers of agent.proto
            tensors.append(_tensor(value))
            if len(tensors) > _MOST:
                raise WireError(f"expected at most {_MOST} tensors, got more")
        elif number == 3:  # noqa: PLR2004
            handle = _text(value, "handle")
    return PredictRequest(name=name, handle=handle, tensors=tensors)


def parse_predict_response(message: bytes) -> list[Tensor]:
    """Read the tensors of an answer; they are views of ``message``.

    Raises:
        WireError: It is no such message.
    """
    return [
        _tensor(value)
        for number, wire, value in _fields(memoryview(message), depth=1)
        if number == 1 and wire == _BYTES
    ]


def from_message(tensor: agent_pb2.Tensor) -> Tensor:
    """Take over a tensor that protobuf has read."""
    metadata = tensor.tensor_metadata
    kind = tensor.WhichOneof("data")
    shared = tensor.shared_memory_handle
    return Tensor(
        name=metadata.name,
        data_type=metadata.data_type,
        shape=tuple(metadata.shape),
        described=tensor.HasField("tensor_metadata"),
        data=tensor.byte_data if kind == "byte_data" else None,
        shared_memory=to_shared_memory(shared) if kind == "shared_memory_handle" else None,
    )


def to_message(tensor: Tensor) -> agent_pb2.Tensor:
    """Write a tensor for a message that protobuf writes."""
    metadata = agent_pb2.TensorMetadata(name=tensor.name, data_type=tensor.data_type, shape=tensor.shape)  # type: ignore[arg-type] # an enum's number
    if tensor.shared_memory is None:
        return agent_pb2.Tensor(tensor_metadata=metadata, byte_data=bytes(tensor.data or b""))
    place = agent_pb2.SharedMemoryHandle(**tensor.shared_memory._asdict())
    return agent_pb2.Tensor(tensor_metadata=metadata, shared_memory_handle=place)


def to_shared_memory(handle: agent_pb2.SharedMemoryHandle) -> SharedMemory:
    """Take over a place in shared memory that protobuf has read."""
    return SharedMemory(segment_id=handle.segment_id, offset=handle.offset, size=handle.size)


def _tensor(message: memoryview) -> Tensor:
    name, data_type, described = b"", 0, False
    shape: list[int] = []
    data: memoryview | None = None
    shared: SharedMemory | None = None
    for number, wire, value in _fields(message, depth=2):
        if wire != _BYTES:
            continue
        if number == 1:
            described = True
            name, data_type = _metadata(value, name, data_type, shape)
        elif number == 4:  # noqa: PLR2004 # of the two kinds of data the last one counts
            data, shared = value, None
        elif number == 5:  # noqa: PLR2004
            data, shared = None, _shared_memory(value, shared or SharedMemory(segment_id=0))
    return Tensor(name, data_type, tuple(shape), described, data, shared)


# A message that comes more than once in its field is one: each piece adds to what the ones before it said.
def _metadata(message: memoryview, name: bytes, data_type: int, shape: list[int]) -> tuple[bytes, int]:
    for number, wire, value in _fields(message, depth=3):
        if number == 1 and wire == _BYTES:
            name = bytes(value)
        elif number == 2 and wire == _VARINT:  # noqa: PLR2004
            data_type = _int32(value)
        elif number == 3 and wire == _VARINT:  # noqa: PLR2004
            shape.append(_int32(value))
        elif number == 3 and wire == _BYTES:  # noqa: PLR2004
            shape.extend(_packed(value))
        if len(shape) > _MOST:
            raise WireError(f"tensor {name!r:.100}: expected at most {_MOST} dimensions, got more")
    return name, data_type


def _shared_memory(message: memoryview, place: SharedMemory) -> SharedMemory:
    numbers = [place.size, place.offset, place.segment_id]  # in the order of their fields
    for number, wire, value in _fields(message, depth=3):
        if wire == _VARINT and 1 <= number <= len(numbers):
            numbers[number - 1] = value
    return SharedMemory(size=numbers[0], offset=numbers[1], segment_id=numbers[2])


def _fields(message: memoryview, *, depth: int) -> Iterator[tuple[int, int, Any]]:
    """Each field's number, wire type and value: an int, a view of its bytes, or None for what is only skipped."""
    position, end = 0, len(message)
    while position < end:
        tag = message[position]
        if _LEAST_TAG <= tag < _CONTINUES:  # nearly all are one byte long
            position += 1
        else:
            tag, position = _tag(message, position)
        number, wire = tag >> 3, tag & 7
        if wire == _BYTES:
            length, position = _number(message, position, _LONGEST_NUMBER)
            stop = position + length
            if stop > end:
                raise WireError(f"field {number}: expected {length} bytes at byte {position}, got {end - position}")
            yield number, wire, message[position:stop]
            position = stop
        elif wire == _VARINT:
            value, position = _number(message, position, _LONGEST_NUMBER)
            yield number, wire, value
        else:
            position = _skip(message, position, number, wire, depth)


def _skip(message: memoryview, position: int, number: int, wire: int, depth: int) -> int:
    """Step over a field that no message of ours has; a group is left with its end."""
    if wire in {_FIXED64, _FIXED32}:
        position += 8 if wire == _FIXED64 else 4
    elif wire == _VARINT:
        _, position = _number(message, position, _LONGEST_NUMBER)
    elif wire == _BYTES:
        length, position = _number(message, position, _LONGEST_NUMBER)
        position += length
    elif wire == _GROUP:
        if depth > _DEEPEST:
            raise WireError(f"expected at most {_DEEPEST} nested messages, got more at byte {position}")
        while True:
            tag, position = _tag(message, position)
            if tag & 7 == _END_GROUP:
                if tag >> 3 != number:
                    raise WireError(f"expected the end of group {number}, got that of {tag >> 3} at byte {position}")
                break
            position = _skip(message, position, tag >> 3, tag & 7, depth + 1)
    else:
        raise WireError(f"field {number}: expected a field, got wire type {wire} before byte {position}")
    if position > len(message):
        raise WireError(f"field {number}: expected its end, got the message's at byte {len(message)}")
    return position


def _tag(message: memoryview, position: int) -> tuple[int, int]:
    tag, position = _number(message, position, _LONGEST_TAG)
    if tag > _LARGEST_TAG or not tag >> 3:
        raise WireError(f"expected a field's number before byte {position}, got {tag >> 3}")
    return tag, position


def _number(message: memoryview, position: int, longest: int) -> tuple[int, int]:
    """A number of at most ``longest`` bytes, modulo 2**64, and the position behind it."""
    if position < len(message) and message[position] < _CONTINUES:
        return message[position], position + 1
    value = 0
    for shift in range(0, 7 * longest, 7):
        if position >= len(message):
            raise WireError("expected a number, got the message's end")
        byte = message[position]
        position += 1
        if byte < _CONTINUES:
            return (value | byte << shift) & 0xFFFF_FFFF_FFFF_FFFF, position
        value |= (byte & 0x7F) << shift
    raise WireError(f"expected a number of at most {longest} bytes before byte {position}, got a longer one")


def _packed(message: memoryview) -> Iterator[int]:
    position = count = 0
    while position < len(message):
        value, position = _number(message, position, _LONGEST_NUMBER)
        yield _int32(value)
        count += 1
        if count > _MOST:
            raise WireError(f"expected at most {_MOST} dimensions, got more")


def _int32(value: int) -> int:
    return ((value & 0xFFFF_FFFF) ^ 0x8000_0000) - 0x8000_0000


def _text(value: memoryview, field: str) -> str:
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError as error:
        raise WireError(f"{field}: expected UTF-8: {error}") from None


# --- writing --------------------------------------------------------------------------------------------------------
def predict_request(name: str, tensors: Sequence[Tensor]) -> bytes:
    """Write a request; the model goes into both fields, as clients of every generation are understood."""
    text = name.encode()
    parts: list[Buffer] = []
    if text:
        parts += (b"\x0a", _length(text), text)
    for tensor in tensors:
        _put_tensor(parts, b"\x12", tensor)
    if text:
        parts += (b"\x1a", _length(text), text)
    return b"".join(parts)


def predict_response(tensors: Sequence[Tensor]) -> bytes:
    """Write an answer."""
    parts: list[Buffer] = []
    for tensor in tensors:
        _put_tensor(parts, b"\x0a", tensor)
    return b"".join(parts)


def _put_tensor(parts: list[Buffer], tag: bytes, tensor: Tensor) -> None:
    head = b""
    if tensor.described:
        metadata = b""
        if tensor.name:
            metadata = b"\x0a" + _length(tensor.name) + tensor.name
        if tensor.data_type:
            metadata += b"\x10" + _varint(tensor.data_type)
        if tensor.shape:
            packed = b"".join(map(_varint, tensor.shape))
            metadata += b"\x1a" + _length(packed) + packed
        head = b"\x0a" + _length(metadata) + metadata
    data = tensor.data or b""
    if tensor.data is not None:
        head += b"\x22" + _length(data)
    elif tensor.shared_memory is not None:
        place = tensor.shared_memory
        numbers = ((b"\x08", place.size), (b"\x10", place.offset), (b"\x18", place.segment_id))
        handle = b"".join(field + _varint(number) for field, number in numbers if number)
        head += b"\x2a" + _length(handle) + handle
    parts += (tag, _varint(len(head) + len(data)), head, data)


def _length(content: Buffer) -> bytes:
    return _varint(len(content))


def _varint(value: int) -> bytes:
    value &= 0xFFFF_FFFF_FFFF_FFFF
    if value < _CONTINUES:
        return bytes((value,))
    encoded = bytearray()
    while value >= _CONTINUES:
        encoded.append(value & 0x7F | _CONTINUES)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
