# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime: a session of the exact bytes that were verified."""

from __future__ import annotations

import functools
import importlib
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_agent.errors import FailedPreconditionError, InvalidArgumentError
from edge_agent.onnx_file import OnnxError, has_external_data
from edge_contract import agent_pb2
from edge_contract.tensors import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

_SUFFIX = ".onnx"
_TYPES = {
    "tensor(uint8)": agent_pb2.UINT8,
    "tensor(int16)": agent_pb2.INT16,
    "tensor(int32)": agent_pb2.INT32,
    "tensor(int64)": agent_pb2.INT64,
    "tensor(float16)": agent_pb2.FLOAT16,
    "tensor(float)": agent_pb2.FLOAT32,
    "tensor(double)": agent_pb2.FLOAT64,
}


@functools.cache
def _runtime() -> ModuleType:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # since 1.29 it reports to its maker, unless told so before the import
    runtime = importlib.import_module("onnxruntime")
    runtime.set_default_logger_severity(3)
    return runtime


class Session:
    """A model ready to run, from several threads at the same time.

    Args:
        contents: The package's files by path; one of them ends in ``.onnx``.
        threads: How many threads one prediction may use.

    Attributes:
        inputs: What the model takes, in its order.
        outputs: What the model gives, in its order.

    Raises:
        FailedPreconditionError: There is no model in the package that can run here.
    """

    def __init__(self, contents: Mapping[str, bytes], *, threads: int) -> None:
        path = _find(contents)
        try:
            external = has_external_data(contents[path])
        except OnnxError as error:
            raise FailedPreconditionError(f"{path}: expected an ONNX model: {error}") from None
        if external:
            raise FailedPreconditionError(
                f"{path}: expected all weights inside the file, got some in another: the agent runs only what it has "
                "verified; save the model without external data"
            )
        runtime = _runtime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Idle threads that spin win microseconds and heat a device.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = runtime.InferenceSession(contents[path], options, providers=["CPUExecutionProvider"])
        except MemoryError:
            raise
        except Exception as error:  # its exceptions have no base of their own
            raise FailedPreconditionError(f"{path}: ONNX Runtime cannot load the model: {error}") from error
        self.inputs = tuple(_spec(node, path) for node in self._session.get_inputs())
        self.outputs = tuple(_spec(node, path) for node in self._session.get_outputs())

    def run(self, feeds: Mapping[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, np.dtype[Any]]]:
        """Run the model once.

        Args:
            feeds: An array for each input by name, of its type and rank.

        Returns:
            An array for each output, in the model's order.

        Raises:
            InvalidArgumentError: ONNX Runtime refuses the inputs.
        """
        try:
            return [np.asarray(output) for output in self._session.run(None, dict(feeds))]
        except Exception as error:
            if type(error).__name__ == "InvalidArgument":  # the class lives in a private module that moves
                raise InvalidArgumentError(f"ONNX Runtime refuses the inputs: {error}") from error
            raise


def _find(contents: Mapping[str, bytes]) -> str:
    models = sorted(path for path in contents if path.endswith(_SUFFIX))
    if len(models) != 1:
        raise FailedPreconditionError(
            f"package: expected exactly one {_SUFFIX} file, got {', '.join(models) or 'none'} "
            f"among {', '.join(sorted(contents))}"
        )
    return models[0]


def _spec(node: Any, path: str) -> TensorSpec:
    if node.type not in _TYPES:
        raise FailedPreconditionError(
            f"{path}: tensor {node.name!r}: expected one of {', '.join(_TYPES)}, got {node.type}, "
            "which the agent's contract cannot carry; add a Cast to the model"
        )
    # A dimension is a number, or a name or None when it may have any length.
    shape = tuple(length if isinstance(length, int) and length >= 0 else -1 for length in node.shape)
    return TensorSpec(name=node.name, data_type=_TYPES[node.type], shape=shape)
