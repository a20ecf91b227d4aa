# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_contract import agent_pb2, tensors, wire

ELEMENTS = st.sampled_from(["u1", "i2", "i4", "i8", "f2", "f4", "f8"])
ARRAYS = st.tuples(ELEMENTS, st.sampled_from(["<", ">"])).flatmap(
    lambda kind: hnp.arrays(np.dtype(kind[1] + kind[0]), hnp.array_shapes(min_dims=0, min_side=0, max_side=5))
)


def reread(tensor: wire.Tensor) -> wire.Tensor:
    return wire.parse_predict_response(wire.predict_response([tensor]))[0]


@given(name=st.text(max_size=20), array=ARRAYS, transposed=st.booleans())
def test_an_array_survives_the_wire_whatever_its_strides_and_byte_order(
    name: str, array: np.ndarray[Any, Any], *, transposed: bool
) -> None:
    given_array = array.T if transposed else array
    for tensor in (tensors.to_wire(name, given_array), wire.from_message(tensors.to_tensor(name, given_array))):
        got_name, got = tensors.from_wire(reread(tensor))
        assert got_name == name
        assert got.shape == given_array.shape
        assert got.dtype == given_array.dtype.newbyteorder("<")
        np.testing.assert_array_equal(got, given_array)


def test_the_wire_is_little_endian_in_c_order() -> None:
    array = np.array([[1, 2], [3, 4]], ">i2").T
    expected = bytes([1, 0, 3, 0, 2, 0, 4, 0])
    assert tensors.to_tensor("x", array).byte_data == expected
    assert tensors.to_wire("x", array).data == expected


def test_what_the_wire_can_carry_as_it_is_is_not_copied() -> None:
    array = np.zeros((2, 3), np.float32)
    data: Any = tensors.to_wire("x", array).data
    assert np.shares_memory(np.frombuffer(data, np.uint8), array)


@given(
    data=st.binary(max_size=64),
    data_type=st.integers(-1, 8),
    shape=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5),
)
def test_bytes_fit_or_are_refused(data: bytes, data_type: int, shape: list[int]) -> None:
    try:
        array = tensors.to_array(data, name="x", data_type=data_type, shape=shape)
    except tensors.TensorError as error:
        assert "'x'" in str(error)  # noqa: PT017 # either way is right
    else:
        assert array.tobytes() == data
        assert list(array.shape) == shape


@pytest.mark.parametrize("dtype", ["bool", "i1", "u4", "c8", "U3", "O", "datetime64[s]"])
def test_types_that_the_contract_lacks_are_refused(dtype: str) -> None:
    with pytest.raises(tensors.TensorError, match=r"tensor 'x': expected one of the types uint8, .*got "):
        tensors.to_tensor("x", np.zeros(2, dtype))
    with pytest.raises(tensors.TensorError, match="'x'"):
        tensors.to_wire("x", np.zeros(2, dtype))


def test_a_wrong_byte_count_is_told() -> None:
    with pytest.raises(tensors.TensorError, match=r"'x': expected 8 bytes for Tensor\[FLOAT32; 1, 2\], got 7"):
        tensors.to_array(bytes(7), name="x", data_type=agent_pb2.FLOAT32, shape=[1, 2])


def test_a_shape_that_overflows_64_bits_is_refused() -> None:
    with pytest.raises(tensors.TensorError, match="got 0"):
        tensors.to_array(b"", name="x", data_type=agent_pb2.FLOAT64, shape=[2**31 - 1] * 4)


@pytest.mark.parametrize(
    "tensor",
    [
        wire.Tensor(),
        wire.Tensor(data=b"1"),
        wire.Tensor(name=b"x", described=True),
        wire.Tensor(described=True, shared_memory=wire.SharedMemory(segment_id=1)),
    ],
)
def test_an_answer_needs_metadata_and_bytes(tensor: wire.Tensor) -> None:
    with pytest.raises(tensors.TensorError, match="expected metadata and byte_data"):
        tensors.from_wire(tensor)


def test_names_that_are_no_utf8_are_read() -> None:
    metadata = agent_pb2.TensorMetadata(name=b"\xff\xfe", data_type=agent_pb2.INT16, shape=[2])
    assert tensors.from_metadata(metadata).name == "\ufffd\ufffd"


def test_a_spec_survives_the_wire() -> None:
    spec = tensors.TensorSpec("größe", agent_pb2.INT64, (-1, 3))
    assert tensors.from_metadata(tensors.to_metadata(spec)) == spec
    assert str(spec) == "Tensor[INT64; -1, 3]"
