# SPDX-License-Identifier: Apache-2.0
"""Reads the tensors of a request, as leniently as the contract asks for.

Clients leave out metadata, or parts of it; protobuf cannot tell an absent type from UINT8 nor an absent shape from a
scalar. What is missing is taken from the model; what is there must fit.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edge_agent.errors import InvalidArgumentError
from edge_contract import agent_pb2, tensors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_agent.shared_memory import Reading
    from edge_contract import wire
    from edge_contract.tensors import TensorSpec

_IMAGE_RANK = 4


class TensorData(NamedTuple):
    """A tensor of a request: its spec without unknown dimensions, and as many bytes as that says."""

    spec: TensorSpec
    data: wire.Buffer


def feeds(
    given: Sequence[wire.Tensor], inputs: Sequence[TensorSpec], *, memory: Reading
) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """Match the tensors of a prediction with the model's inputs.

    Returns:
        Views of the request and of shared memory; the latter are gone when ``memory`` is closed.

    Raises:
        InvalidArgumentError: A tensor is missing, unknown, given twice, does not fit its input, or its shared memory
            cannot be read.
        TensorError: Its parts contradict each other.
    """
    if len(given) != len(inputs):
        raise InvalidArgumentError(f"tensors: expected {len(inputs)} ({_listed(inputs)}), got {len(given)}")
    by_name = {spec.name: spec for spec in inputs}
    found: dict[str, np.ndarray[Any, np.dtype[Any]]] = {}
    for position, tensor in enumerate(given):
        name = tensors.decode_name(tensor.name)
        # With one input there is no doubt which is meant, whatever the client calls it.
        spec = by_name.get(name) if name and len(inputs) > 1 else inputs[position]
        if spec is None:
            raise InvalidArgumentError(f"tensor {name!r:.300}: expected one of {_listed(inputs)}")
        if spec.name in found:
            raise InvalidArgumentError(f"tensor {spec.name!r}: expected it once, got it again at position {position}")
        read_tensor = read(tensor, position=position, model=spec, memory=memory)
        shape = fit(read_tensor.spec, spec)
        array = np.frombuffer(read_tensor.data, spec.dtype).reshape(shape)
        # Whole numbers may be indices, which a runtime checks and then uses: they must not change in between.
        if tensor.shared_memory is not None and array.dtype.kind == "i":
            array = array.copy()
        found[spec.name] = array
    return found


def read(tensor: wire.Tensor, *, position: int, model: TensorSpec | None, memory: Reading) -> TensorData:
    """Read one tensor.

    Args:
        tensor: As it came.
        position: Its place in the request, for messages.
        model: What the model says about it, which fills gaps; None when the model has no such tensor.
        memory: Where shared memory is looked at.

    Returns:
        A view of the tensor.

    Raises:
        InvalidArgumentError: It has no data, or its type and shape cannot be known, or its shared memory cannot be
            read.
        TensorError: Type, shape and byte count contradict each other.
    """
    name = tensors.decode_name(tensor.name) or (model.name if model else f"{position}")
    data = content(tensor.data, tensor.shared_memory, what=f"tensor {name!r:.300}", memory=memory)
    # A place without a size reaches to the end of its segment, which may be longer than the tensor.
    open_ended = tensor.shared_memory is not None and not tensor.shared_memory.size
    shape, data_type = tensor.shape, tensor.data_type
    if model is None:
        if not tensor.described:
            raise InvalidArgumentError(
                f"tensor {name!r:.300}: expected tensor_metadata, got none, and the model has no such tensor"
            )
    else:
        if not shape and model.shape:
            shape = _complete(model, len(data), name)
        # An absent type reads as UINT8: when the bytes are as many as the model's type needs, it is that.
        size = math.prod(shape) * model.dtype.itemsize
        as_many = size <= len(data) if open_ended else size == len(data)
        if not tensor.described or (data_type == agent_pb2.UINT8 and as_many):
            data_type = model.data_type
    spec = tensors.TensorSpec(name=name, data_type=data_type, shape=shape)  # type: ignore[arg-type] # checked below
    if open_ended and data_type in tensors.DTYPES and min(shape, default=0) >= 0:
        data = data[: math.prod(shape) * spec.dtype.itemsize]
    tensors.check(data, name=name, data_type=spec.data_type, shape=shape)
    return TensorData(spec=spec, data=data)


def fit(got: TensorSpec, spec: TensorSpec) -> tuple[int, ...]:
    """Hold a tensor against an input of the model.

    Returns:
        The shape that it has for the model.

    Raises:
        InvalidArgumentError: Type or shape differ.
    """
    if got.data_type != spec.data_type or not _matches(got.shape, spec.shape):
        raise InvalidArgumentError(f"tensor {spec.name!r}: expected {spec}, got {got}")
    # Images that were transposed keep the declaration of before in many clients: the model's order is the right one.
    return spec.shape if -1 not in spec.shape else got.shape


def content(data: wire.Buffer | None, place: wire.SharedMemory | None, *, what: str, memory: Reading) -> wire.Buffer:
    """Find the bytes of a tensor or of auxiliary data.

    Raises:
        InvalidArgumentError: There are none, or their shared memory cannot be read.
    """
    if place is not None:
        return memory.view(place, what=what)
    if data is None:
        raise InvalidArgumentError(f"{what}: expected byte_data or a shared_memory_handle, got no data")
    return data


def _listed(inputs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{spec.name!r} {spec}" for spec in inputs)


def _complete(model: TensorSpec, size: int, name: str) -> tuple[int, ...]:
    """The model's shape, its one unknown dimension worked out from the byte count."""
    unknown = [index for index, length in enumerate(model.shape) if length < 0]
    if not unknown:
        return model.shape
    known = math.prod(length for length in model.shape if length >= 0) * model.dtype.itemsize
    if len(unknown) > 1 or not known or size % known:
        raise InvalidArgumentError(f"tensor {name!r}: expected a shape that fits {model}, got none and {size} bytes")
    return tuple(size // known if length < 0 else length for length in model.shape)


def _matches(got: Sequence[int], expected: Sequence[int]) -> bool:
    if len(got) != len(expected):
        return False
    if all(want in {-1, have} for have, want in zip(got, expected)):
        return True
    # NHWC declared, NCHW sent: Edge Manager's own samples do it, and its agent looked at the byte count only.
    return len(expected) == _IMAGE_RANK and -1 not in expected and sorted(got) == sorted(expected)
