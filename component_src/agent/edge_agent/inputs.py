# SPDX-License-Identifier: Apache-2.0
"""Reads the tensors of a request, as leniently as the contract asks for.

Clients leave out metadata, or parts of it; protobuf cannot tell an absent type from UINT8 nor an absent shape from a
scalar. What is missing is taken from the model; what is there must fit.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from edge_agent.errors import InvalidArgumentError, UnsupportedError
from edge_contract import agent_pb2, tensors

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from edge_contract.tensors import TensorSpec

_IMAGE_RANK = 4


@dataclasses.dataclass(frozen=True)
class TensorData:
    """A tensor of a request: its spec without unknown dimensions, and as many bytes as that says."""

    spec: TensorSpec
    data: bytes

    def array(self) -> np.ndarray[Any, np.dtype[Any]]:
        """View the bytes as an array."""
        return tensors.to_array(self.data, name=self.spec.name, data_type=self.spec.data_type, shape=self.spec.shape)


def feeds(given: Sequence[agent_pb2.Tensor], inputs: Sequence[TensorSpec]) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """Match the tensors of a prediction with the model's inputs.

    Raises:
        InvalidArgumentError: A tensor is missing, unknown, given twice, or does not fit its input.
        TensorError: Its parts contradict each other.
        UnsupportedError: A tensor lies in shared memory.
    """
    expected = ", ".join(f"{spec.name!r} {spec}" for spec in inputs)
    if len(given) != len(inputs):
        raise InvalidArgumentError(f"tensors: expected {len(inputs)} ({expected}), got {len(given)}")
    by_name = {spec.name: spec for spec in inputs}
    found: dict[str, np.ndarray[Any, np.dtype[Any]]] = {}
    for position, tensor in enumerate(given):
        name = tensors.decode_name(tensor.tensor_metadata.name)
        # With one input there is no doubt which is meant, whatever the client calls it.
        spec = by_name.get(name) if name and len(inputs) > 1 else inputs[position]
        if spec is None:
            raise InvalidArgumentError(f"tensor {name!r}: expected one of {expected}")
        if spec.name in found:
            raise InvalidArgumentError(f"tensor {spec.name!r}: expected it once, got it again at position {position}")
        found[spec.name] = fit(read(tensor, position=position, model=spec), spec).array()
    return found


def read(tensor: agent_pb2.Tensor, *, position: int, model: TensorSpec | None) -> TensorData:
    """Read one tensor.

    Args:
        tensor: As it came.
        position: Its place in the request, for messages.
        model: What the model says about it, which fills gaps; None when the model has no such tensor.

    Raises:
        InvalidArgumentError: It has no data, or its type and shape cannot be known.
        TensorError: Type, shape and byte count contradict each other.
        UnsupportedError: It lies in shared memory.
    """
    name = tensors.decode_name(tensor.tensor_metadata.name) or (model.name if model else f"{position}")
    data = inline(tensor, what=f"tensor {name!r}")
    metadata = tensor.tensor_metadata
    shape = tuple(metadata.shape)
    data_type = metadata.data_type
    if not shape and model is not None and model.shape:
        shape = _complete(model, len(data), name)
    described = tensor.HasField("tensor_metadata")
    if model is None and not described:
        raise InvalidArgumentError(
            f"tensor {name!r}: expected tensor_metadata, got none, and the model has no such tensor"
        )
    # An absent type reads as UINT8: when the bytes are as many as the model's type needs, it is that.
    size = math.prod(shape) * model.dtype.itemsize if model is not None else -1
    if model is not None and (not described or (data_type == agent_pb2.UINT8 and len(data) == size)):
        data_type = model.data_type
    tensors.to_array(data, name=name, data_type=data_type, shape=shape)  # the byte count fits
    return TensorData(spec=tensors.TensorSpec(name=name, data_type=data_type, shape=shape), data=data)


def fit(tensor: TensorData, spec: TensorSpec) -> TensorData:
    """Hold a tensor against an input of the model.

    Raises:
        InvalidArgumentError: Type or shape differ.
    """
    got = tensor.spec
    if got.data_type != spec.data_type or not _matches(got.shape, spec.shape):
        raise InvalidArgumentError(f"tensor {spec.name!r}: expected {spec}, got {got}")
    # Images that were transposed keep the declaration of before in many clients: the model's order is the right one.
    shape = spec.shape if -1 not in spec.shape else got.shape
    return TensorData(spec=dataclasses.replace(spec, shape=shape), data=tensor.data)


def inline(item: agent_pb2.Tensor | agent_pb2.AuxiliaryData, *, what: str) -> bytes:
    """Take the bytes of a tensor or of auxiliary data.

    Raises:
        InvalidArgumentError: There are none.
        UnsupportedError: They lie in shared memory.
    """
    kind = item.WhichOneof("data")
    if kind == "shared_memory_handle":
        raise UnsupportedError(
            f"{what}: expected byte_data, got a shared_memory_handle, which this version of the agent does not read; "
            "send the bytes inline"
        )
    if kind is None:
        raise InvalidArgumentError(f"{what}: expected byte_data, got no data")
    return item.byte_data


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
