# SPDX-License-Identifier: Apache-2.0
"""The codec against protobuf: what one reads the other reads, what one refuses the other refuses."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_contract import agent_pb2, wire


def of_protobuf(message: bytes) -> wire.PredictRequest | None:
    try:
        request = agent_pb2.PredictRequest.FromString(message)
    except DecodeError:
        return None
    return wire.PredictRequest(request.name, request.handle, [wire.from_message(one) for one in request.tensors])


def of_codec(message: bytes) -> wire.PredictRequest | None:
    try:
        return wire.parse_predict_request(message)
    except wire.WireError as error:
        assert str(error)  # noqa: PT017 # both ways are right, as long as protobuf goes the same
        return None


def agree(message: bytes) -> None:
    assert of_codec(message) == of_protobuf(message), message.hex()


def varint(value: int, *, padding: int = 0) -> bytes:
    """A number, made longer than needed by some bytes."""
    value &= 2**64 - 1
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(value & 0x7F)
    digits += [0] * padding
    return bytes(digit | 0x80 for digit in digits[:-1]) + bytes(digits[-1:])


def field(number: int, wire_type: int, payload: bytes) -> bytes:
    return varint(number << 3 | wire_type) + payload


def lengthy(number: int, payload: bytes) -> bytes:
    return field(number, 2, varint(len(payload)) + payload)


def group(number: int, payload: bytes) -> bytes:
    return field(number, 3, payload) + field(number, 4, b"")


NUMBERS = st.sampled_from([1, 2, 3, 4, 5, 6, 15, 16, 2**29 - 1])
VALUES = st.one_of(st.integers(0, 9), st.sampled_from([2**31 - 1, 2**31, 2**32 + 5, 2**63, 2**64 - 1]))


def messages(payload: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Some fields of any number and wire type, the nested ones filled with ``payload``."""
    one = st.one_of(
        st.builds(lambda number, value: field(number, 0, varint(value)), NUMBERS, VALUES),
        st.builds(
            lambda number, value, pad: field(number, 0, varint(value, padding=pad)),
            NUMBERS,
            VALUES,
            VALUES.map(lambda v: v % 10),
        ),
        st.builds(lengthy, NUMBERS, payload),
        st.builds(lengthy, NUMBERS, payload),
        st.builds(group, NUMBERS, payload),
        st.builds(lambda number, value: field(number, 1, struct.pack("<Q", value)), NUMBERS, VALUES),
        st.builds(lambda number: field(number, 5, b"abcd"), NUMBERS),
    )
    return st.lists(one, max_size=5).map(b"".join)


LEAVES = st.one_of(
    st.binary(max_size=8), st.lists(VALUES.map(varint), max_size=4).map(b"".join), st.just("größe".encode())
)
ANY_MESSAGE = messages(messages(messages(LEAVES) | LEAVES) | LEAVES)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A message with some of its bytes cut, doubled or changed."""
    message = bytearray(draw(ANY_MESSAGE))
    for _ in range(draw(st.integers(0, 3))):
        if message:
            position = draw(st.integers(0, len(message) - 1))
            kind = draw(st.sampled_from(["cut", "drop", "double", "change"]))
            if kind == "cut":
                del message[position:]
            elif kind == "drop":
                del message[position]
            elif kind == "double":
                message.insert(position, message[position])
            else:
                message[position] = draw(st.integers(0, 255))
    return bytes(message)


@settings(max_examples=400)
@given(message=damaged() | st.binary(max_size=64))
def test_both_read_the_same_or_refuse(message: bytes) -> None:
    agree(message)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x00",  # field number 0
        b"\x0b\x0c",  # a group
        b"\x0b\x14",  # closed by another number
        b"\x0b",  # never closed
        b"\x0c",  # never opened
        b"\x0e",  # wire type 6
        b"\x0f",  # wire type 7
        b"\x0a\x05abc",  # cut
        b"\x0a\x01\xff",  # a string that is no UTF-8
        b"\x0a\x03\xed\xa0\x80",  # a surrogate
        b"\x0a\x01\xff\x0a\x01a",  # the one that counts is fine, the one before is not
        b"\x12\x02\x0a\x01",  # a length that leaves its message
        b"\x12\x04\x0a\x02\x10\x80\x01",  # a number that leaves its message
        b"\x08" + b"\xff" * 9 + b"\x01",
        b"\x08" + b"\xff" * 9 + b"\x7f",  # more than 64 bits
        b"\x08" + b"\xff" * 10 + b"\x01",
        b"\x8a\x80\x80\x80\x00\x01a",  # a tag and ...
        b"\x8a\x80\x80\x80\x80\x00\x01a",
        b"\x8a\x80\x80\x80\x10\x01a",
        b"\xf8\xff\xff\xff\x7f\x01",  # a tag above 32 bits
        b"\x0a\x81\x80\x80\x80\x00a",  # ... a length with needless zeros
        b"\x0a\x81\x80\x80\x80\x80\x00a",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # a length of 2**64 - 1
        b"\x0a\xff\xff\xff\xff\x07",
        lengthy(2, lengthy(1, lengthy(1, b"\xff\xfe"))),  # a tensor's name may be anything
        lengthy(2, lengthy(1, b"\x10" + varint(-1))),  # unknown data types stay
        lengthy(2, lengthy(1, b"\x18" + varint(-5) + lengthy(3, varint(2**32 + 7) + varint(3)) + b"\x18\x01")),
        lengthy(2, lengthy(1, lengthy(1, b"a")) + lengthy(1, b"\x18\x02") + lengthy(1, lengthy(1, b"b") + b"\x18\x03")),
        lengthy(2, lengthy(4, b"data") + lengthy(5, b"\x18\x07")),
        lengthy(2, lengthy(5, b"\x18\x07") + lengthy(4, b"")),
        lengthy(2, lengthy(5, b"\x18\x07") + lengthy(5, b"\x10\x08")),
        lengthy(2, lengthy(5, b"\x18\x07") + lengthy(4, b"") + lengthy(5, b"\x10\x08")),
        lengthy(2, lengthy(5, b"\x18" + varint(2**64 - 1))),
        lengthy(2, field(4, 0, b"\x01") + field(5, 5, b"abcd") + field(1, 0, b"\x01")),  # known numbers, other types
        field(2, 3, b"") + field(2, 4, b""),
    ],
    ids=bytes.hex,
)
def test_corners(message: bytes) -> None:
    agree(message)


@pytest.mark.parametrize("levels", [1, 96, 97, 98, 99, 100, 101, 102])
def test_nesting_is_bounded_like_protobufs(levels: int) -> None:
    nested = b""
    for _ in range(levels):
        nested = group(9, nested)
    for message in (nested, lengthy(2, nested), lengthy(2, lengthy(1, nested)), lengthy(2, lengthy(5, nested))):
        assert (of_codec(message) is None) == (of_protobuf(message) is None)


def test_a_million_groups_are_refused_and_not_entered() -> None:
    assert of_codec(b"\x4b" * 1_000_000) is None


@pytest.mark.parametrize(
    "message",
    [
        lengthy(2, b"") * 10_001,
        lengthy(2, lengthy(1, b"\x18\x01" * 10_001)),
        lengthy(2, lengthy(1, lengthy(3, b"\x01" * 10_001))),
        lengthy(2, lengthy(1, b"\x18\x01") * 10_001),  # in as many pieces, each of which adds to the ones before
    ],
    ids=["tensors", "dimensions", "packed dimensions", "pieces"],
)
def test_what_no_model_has_is_refused_before_it_costs_much(message: bytes) -> None:
    with pytest.raises(wire.WireError, match="expected at most 10000"):
        wire.parse_predict_request(message)


TENSORS = st.builds(
    agent_pb2.Tensor,
    tensor_metadata=st.none()
    | st.builds(
        agent_pb2.TensorMetadata,
        name=st.binary(max_size=4),
        data_type=st.integers(-3, 9),
        shape=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3),
    ),
    byte_data=st.binary(max_size=200),
) | st.builds(
    agent_pb2.Tensor,
    shared_memory_handle=st.builds(
        agent_pb2.SharedMemoryHandle,
        size=st.integers(0, 2**64 - 1),
        offset=st.integers(0, 2**64 - 1),
        segment_id=st.integers(0, 2**64 - 1),
    ),
)


@given(name=st.text(max_size=200), tensors=st.lists(TENSORS, max_size=3))
def test_what_is_written_is_what_protobuf_writes(name: str, tensors: list[agent_pb2.Tensor]) -> None:
    plain = [wire.from_message(tensor) for tensor in tensors]
    request = agent_pb2.PredictRequest(name=name, handle=name, tensors=tensors).SerializeToString()
    assert wire.predict_request(name, plain) == request
    assert wire.parse_predict_request(request) == wire.PredictRequest(name, name, plain)
    response = agent_pb2.PredictResponse(tensors=tensors).SerializeToString()
    assert wire.predict_response(plain) == response
    assert wire.parse_predict_response(response) == plain


def test_data_is_not_copied() -> None:
    message = agent_pb2.PredictRequest(tensors=[agent_pb2.Tensor(byte_data=b"elements")]).SerializeToString()
    (tensor,) = wire.parse_predict_request(message).tensors
    data: Any = tensor.data
    assert isinstance(data, memoryview)
    assert data.obj is message
    assert data.readonly


def test_seeded_noise() -> None:
    """Cheap noise beside hypothesis's sparse one; the long form is ``make soak``."""
    generator = random.Random(1)  # noqa: S311 # repeatable noise
    for _ in range(20_000):
        agree(generator.randbytes(generator.randrange(24)))
