# SPDX-License-Identifier: Apache-2.0
"""Tensors on the wire and NumPy arrays: the same rules on both ends of the socket."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_contract import agent_pb2, wire

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: The contract's seven element types; the wire is little-endian whatever the machine is.
DTYPES: Mapping[agent_pb2.DataType, np.dtype[Any]] = {
    agent_pb2.UINT8: np.dtype("u1"),
    agent_pb2.INT16: np.dtype("<i2"),
    agent_pb2.INT32: np.dtype("<i4"),
    agent_pb2.INT64: np.dtype("<i8"),
    agent_pb2.FLOAT16: np.dtype("<f2"),
    agent_pb2.FLOAT32: np.dtype("<f4"),
    agent_pb2.FLOAT64: np.dtype("<f8"),
}
_DATA_TYPES = {dtype.newbyteorder("="): data_type for data_type, dtype in DTYPES.items()}
_LARGEST_DIMENSION = 2**31 - 1


class TensorError(ValueError):
    """A tensor that the contract cannot carry, or whose parts contradict each other."""


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """Name, element type and shape of one input or output of a model.

    Attributes:
        name: The tensor's name in the model.
        data_type: One of the contract's seven types.
        shape: One number a dimension; -1 stands for any length.
    """

    name: str
    data_type: agent_pb2.DataType
    shape: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy type of the elements."""
        return DTYPES[self.data_type]

    def __str__(self) -> str:
        """The form that captures record, for example ``Tensor[FLOAT32; 1, 64]``."""
        return describe(self.data_type, self.shape)


def describe(data_type: int, shape: Sequence[int]) -> str:
    """Write a type and a shape the way captures and error messages do: ``Tensor[FLOAT32; 1, 64]``."""
    return f"Tensor[{type_name(data_type)}; {', '.join(map(str, shape))}]"


def type_name(data_type: int) -> str:
    """Name an element type as the contract does; a number that the contract does not know stays a number."""
    return agent_pb2.DataType.Name(data_type) if data_type in DTYPES else f"data type {data_type}"


def data_type_of(dtype: np.dtype[Any], *, name: str) -> agent_pb2.DataType:
    """Find the contract's element type for a NumPy type.

    Args:
        dtype: The type of an array's elements, in either byte order.
        name: The tensor's name, for the message.

    Raises:
        TensorError: The contract has no such type.
    """
    try:
        return _DATA_TYPES[dtype.newbyteorder("=")]
    except KeyError:
        known = ", ".join(str(one.newbyteorder("=")) for one in DTYPES.values())
        raise TensorError(f"tensor {name!r}: expected one of the types {known}, got {dtype}") from None


def to_metadata(spec: TensorSpec) -> agent_pb2.TensorMetadata:
    """Write a spec for the wire."""
    return agent_pb2.TensorMetadata(name=spec.name.encode(), data_type=spec.data_type, shape=spec.shape)


def from_metadata(metadata: agent_pb2.TensorMetadata) -> TensorSpec:
    """Read a spec from the wire; bytes of the name that are no UTF-8 are replaced.

    Raises:
        TensorError: The element type is none of the contract's.
    """
    name = decode_name(metadata.name)
    if metadata.data_type not in DTYPES:
        raise TensorError(f"tensor {name!r}: expected a data type from 0 to 6, got {int(metadata.data_type)}")
    return TensorSpec(name=name, data_type=metadata.data_type, shape=tuple(metadata.shape))


def decode_name(name: bytes) -> str:
    """Read a tensor's name; bytes that are no UTF-8 are replaced, as names of old models have them."""
    return name.decode(errors="replace")


def check_array(name: str, array: np.ndarray[Any, Any]) -> agent_pb2.DataType:
    """Find the element type for an array that the contract can carry.

    Raises:
        TensorError: The contract has no such element type, or a dimension exceeds 31 bits.
    """
    data_type = data_type_of(array.dtype, name=name)
    if any(length > _LARGEST_DIMENSION for length in array.shape):
        raise TensorError(f"tensor {name!r}: expected dimensions below 2**31, got {array.shape}")
    return data_type


def to_tensor(name: str, array: np.ndarray[Any, Any]) -> agent_pb2.Tensor:
    """Write an array for the wire.

    Args:
        name: The tensor's name.
        array: Any shape, strides and byte order; one of the contract's seven element types.

    Raises:
        TensorError: The contract cannot carry it.
    """
    return wire.to_message(to_wire(name, array))


def to_wire(name: str, array: np.ndarray[Any, Any]) -> wire.Tensor:
    """Write an array for the codec, which takes its bytes from where they are when they are as the wire has them.

    Raises:
        TensorError: The contract cannot carry it.
    """
    data_type = check_array(name, array)
    flat = np.ascontiguousarray(array, dtype=DTYPES[data_type]).reshape(-1).view(np.uint8)
    return wire.Tensor(name.encode(), data_type, array.shape, described=True, data=flat.data)


def check(data: wire.Buffer, *, name: str, data_type: int, shape: Sequence[int]) -> None:
    """Hold a tensor's parts against each other.

    Args:
        data: The elements in C order, little-endian.
        name: The tensor's name, for messages.
        data_type: The element type.
        shape: The dimensions, none of them negative; () is a single element.

    Raises:
        TensorError: The type is unknown, a dimension is negative, or the byte count does not fit.
    """
    dtype = _known(data_type, name)
    if any(length < 0 for length in shape):
        raise TensorError(f"tensor {name!r}: expected dimensions of 0 or more, got {list(shape)}")
    expected = math.prod(shape) * dtype.itemsize  # in Python integers: a crafted shape cannot overflow
    if len(data) != expected:
        raise TensorError(
            f"tensor {name!r}: expected {expected} bytes for {describe(data_type, shape)}, got {len(data)}"
        )


def to_array(data: wire.Buffer, *, name: str, data_type: int, shape: Sequence[int]) -> np.ndarray[Any, np.dtype[Any]]:
    """View the bytes of a tensor as an array; the arguments are those of ``check``.

    Returns:
        A read-only view of ``data`` with the given shape, nothing copied.

    Raises:
        TensorError: As for ``check``.
    """
    check(data, name=name, data_type=data_type, shape=shape)
    return np.frombuffer(data, dtype=_known(data_type, name)).reshape(tuple(shape))


def _known(data_type: int, name: str) -> np.dtype[Any]:
    try:
        return DTYPES[data_type]  # type: ignore[index] # a number that is none of them is what this finds out
    except KeyError:
        raise TensorError(f"tensor {name!r}: expected a data type from 0 to 6, got {int(data_type)}") from None


def from_wire(tensor: wire.Tensor) -> tuple[str, np.ndarray[Any, np.dtype[Any]]]:
    """Read a tensor that carries its metadata and its bytes, as the agent's answers do.

    Returns:
        The name, and a read-only view of the bytes.

    Raises:
        TensorError: Metadata or bytes are missing, or contradict each other.
    """
    name = decode_name(tensor.name)
    if not tensor.described or tensor.data is None:
        raise TensorError(
            f"tensor {name!r}: expected metadata and byte_data, got "
            f"{'metadata' if tensor.described else 'no metadata'} and "
            f"{'byte_data' if tensor.data is not None else 'no byte_data'}"
        )
    return name, to_array(tensor.data, name=name, data_type=tensor.data_type, shape=tensor.shape)
