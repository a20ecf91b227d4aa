# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import inputs
from edge_agent.errors import InvalidArgumentError
from edge_agent.shared_memory import Segments
from edge_contract import agent_pb2, wire
from edge_contract.tensors import TensorError, TensorSpec, to_tensor

LEFT = TensorSpec("left", agent_pb2.FLOAT32, (2,))
RIGHT = TensorSpec("right", agent_pb2.FLOAT32, (2,))
IMAGE = TensorSpec("image", agent_pb2.FLOAT32, (1, 3, 2, 4))
ONE, TWO = np.array([1, 1], np.float32), np.array([2, 2], np.float32)


def bare(array: np.ndarray[Any, Any], **metadata: Any) -> agent_pb2.Tensor:
    tensor = agent_pb2.Tensor(byte_data=array.tobytes())
    if metadata:
        tensor.tensor_metadata.CopyFrom(agent_pb2.TensorMetadata(**metadata))
    return tensor


def feeds(given_tensors: list[agent_pb2.Tensor], specs: Sequence[TensorSpec]) -> dict[str, np.ndarray[Any, Any]]:
    with Segments().reading() as memory:
        return inputs.feeds([wire.from_message(tensor) for tensor in given_tensors], specs, memory=memory)


@pytest.mark.parametrize(
    "given_tensors",
    [
        [to_tensor("left", ONE), to_tensor("right", TWO)],
        [to_tensor("right", TWO), to_tensor("left", ONE)],
        [bare(ONE), bare(TWO)],
        [bare(ONE), to_tensor("right", TWO)],
        [bare(ONE, name=b"left"), bare(TWO, shape=[2])],
        [bare(ONE, name=b"left", data_type=agent_pb2.FLOAT32), bare(TWO, name=b"right", shape=[2])],
    ],
    ids=["named", "named in another order", "bare", "partly bare", "partial", "type or shape absent"],
)
def test_names_win_and_gaps_are_filled_from_the_model(given_tensors: list[agent_pb2.Tensor]) -> None:
    found = feeds(given_tensors, [LEFT, RIGHT])
    np.testing.assert_array_equal(found["left"], ONE)
    np.testing.assert_array_equal(found["right"], TWO)


@pytest.mark.parametrize(
    ("given_tensors", "message"),
    [
        ([to_tensor("left", ONE)], "expected 2 .*'left'.*'right'.*got 1"),
        ([to_tensor("left", ONE), to_tensor("left", TWO)], "'left': expected it once, got it again at position 1"),
        ([to_tensor("left", ONE), to_tensor("up", TWO)], "tensor 'up': expected one of 'left'"),
        ([to_tensor("right", ONE), bare(TWO)], "'right': expected it once"),
        ([to_tensor("left", ONE), to_tensor("right", TWO.astype(np.int32))], "'right': expected .*FLOAT32.*INT32"),
        (
            [to_tensor("left", ONE), agent_pb2.Tensor()],
            "'right': expected byte_data or a shared_memory_handle, got no data",
        ),
    ],
)
def test_what_does_not_fit_is_named(given_tensors: list[agent_pb2.Tensor], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        feeds(given_tensors, [LEFT, RIGHT])


def test_a_real_uint8_tensor_is_not_taken_for_an_absent_type() -> None:
    with pytest.raises(InvalidArgumentError, match=r"expected .*FLOAT32; 2.*, got .*UINT8; 2"):
        feeds([to_tensor("left", ONE.astype(np.uint8))], [LEFT])


def test_an_image_declared_in_the_other_layout_is_taken_in_the_models() -> None:
    pixels = np.arange(24, dtype=np.float32)
    declared = to_tensor("image", pixels.reshape(1, 2, 4, 3))
    np.testing.assert_array_equal(feeds([declared], [IMAGE])["image"], pixels.reshape(1, 3, 2, 4))
    with pytest.raises(InvalidArgumentError, match=r"1, 3, 2, 4.*got .*24"):
        feeds([to_tensor("image", pixels)], [IMAGE])


def test_a_batch_without_a_shape_is_worked_out_from_its_bytes() -> None:
    spec = TensorSpec("x", agent_pb2.FLOAT32, (-1, 4))
    assert feeds([bare(np.zeros(12, np.float32))], [spec])["x"].shape == (3, 4)
    for size in (1, 13):
        with pytest.raises((InvalidArgumentError, TensorError), match="'x'"):
            feeds([bare(np.zeros(size, np.uint8))], [spec])
    with pytest.raises(InvalidArgumentError, match="expected a shape"):
        feeds([bare(np.zeros(12, np.float32))], [TensorSpec("x", agent_pb2.FLOAT32, (-1, -1))])


@given(
    data=st.binary(max_size=40),
    metadata=st.none()
    | st.fixed_dictionaries(
        {
            "name": st.sampled_from([b"", b"x", b"\xff"]),
            "data_type": st.integers(0, 9),
            "shape": st.lists(st.integers(-3, 6), max_size=3),
        }
    ),
    shape=st.lists(st.sampled_from([-1, 0, 1, 2, 4]), max_size=3),
    data_type=st.sampled_from([agent_pb2.UINT8, agent_pb2.INT16, agent_pb2.FLOAT64]),
)
def test_whatever_comes_fits_the_model_or_is_refused(
    data: bytes, metadata: dict[str, Any] | None, shape: list[int], data_type: agent_pb2.DataType
) -> None:
    spec = TensorSpec("x", data_type, tuple(shape))
    tensor = bare(np.frombuffer(data, np.uint8), **(metadata or {}))
    try:
        array = feeds([tensor], [spec])["x"]
    except (InvalidArgumentError, TensorError) as error:
        assert "tensor" in str(error)  # noqa: PT017 # either way is right
    else:
        assert array.dtype == spec.dtype
        assert all(want in {-1, have} for have, want in zip(array.shape, shape, strict=True))
        assert array.tobytes() == data
