# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime: a session of the exact bytes that were verified."""

from __future__ import annotations

import functools
import importlib
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_agent.errors import CancelledError, FailedPreconditionError, InvalidArgumentError, NotFoundError
from edge_contract import agent_pb2
from edge_contract.tensors import TensorSpec
from edge_package.onnx_file import OnnxError, has_external_data

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from edge_agent.engines import EngineOptions, WhenOver

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


class OnnxEngine:
    """An ONNX model, run by several threads at the same time; see ``Engine``.

    Args:
        contents: The package's files by path.
        path: The model's.
        options: How to run it.

    Raises:
        FailedPreconditionError: It cannot run here.
    """

    name = "onnxruntime"

    def __init__(self, contents: Mapping[str, bytes], path: str, options: EngineOptions) -> None:
        try:
            external = has_external_data(contents[path])
        except OnnxError as error:
            raise FailedPreconditionError(f"{path}: expected an ONNX model: {error}") from None
        if external:
            raise FailedPreconditionError(
                f"{path}: expected all weights inside the file, got some in another: the agent runs only what it has "
                "verified; save the model without external data"
            )
        session = _session(contents[path], path, options)
        self.inputs = tuple(_spec(node, path) for node in session.get_inputs())
        self.outputs = tuple(_spec(node, path) for node in session.get_outputs())
        self._session: Any = session

    def run(
        self, feeds: Mapping[str, np.ndarray[Any, Any]], *, when_over: WhenOver | None = None
    ) -> list[np.ndarray[Any, np.dtype[Any]]]:
        """See ``Engine``; it is interrupted between two nodes of the graph."""
        session = self._session  # ours until this run ends, whatever ``close`` does
        if session is None:
            raise NotFoundError("the model was unloaded in the meantime; load it again")
        options = _runtime().RunOptions()
        if when_over is not None:
            options.log_severity_level = 4  # it is an exception as well
            when_over(functools.partial(_interrupt, options))
        try:
            return [np.asarray(output) for output in session.run(None, dict(feeds), options)]
        except Exception as error:
            if options.terminate:
                raise CancelledError("nobody waits for the prediction any more") from error
            if type(error).__name__ == "InvalidArgument":  # the class lives in a private module that moves
                raise InvalidArgumentError(f"ONNX Runtime refuses the inputs: {error}") from error
            raise

    def close(self) -> None:
        """See ``Engine``."""
        self._session = None


def _interrupt(options: Any) -> None:
    options.terminate = True


def available_providers() -> list[str]:
    """The execution providers that this build of ONNX Runtime has."""
    return list(_runtime().get_available_providers())


def _session(model: bytes, path: str, options: EngineOptions) -> Any:
    runtime = _runtime()
    wanted = list(options.execution_providers)
    if absent := [name for name in wanted if name not in available_providers()]:
        raise FailedPreconditionError(
            f"ExecutionProviders: expected some of {', '.join(available_providers())}, which this ONNX Runtime has; "
            f"got {', '.join(absent)}"
        )
    session_options = runtime.SessionOptions()
    session_options.intra_op_num_threads = options.threads
    session_options.inter_op_num_threads = 1
    # Idle threads that spin win microseconds and heat a device.
    session_options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = runtime.InferenceSession(model, session_options, providers=wanted)
    except MemoryError:
        raise
    except Exception as error:  # its exceptions have no base of their own
        raise FailedPreconditionError(f"{path}: ONNX Runtime cannot load the model: {error}") from error
    # A provider without its libraries or hardware is dropped without a word, and the model would crawl on the CPU.
    if dropped := [name for name in wanted if name not in session.get_providers()]:
        raise FailedPreconditionError(
            f"ExecutionProviders: {', '.join(dropped)} cannot start on this device (its driver or libraries are "
            f"missing); ONNX Runtime would run {path} on {', '.join(session.get_providers())}"
        )
    # It keeps the file's bytes to start over on another provider, which is refused here: half of a model's memory.
    session.disable_fallback()
    if hasattr(session, "_model_bytes"):
        session._model_bytes = None  # noqa: SLF001 # there is no public way; a test notices when there is none at all
    return session


def _spec(node: Any, path: str) -> TensorSpec:
    if node.type not in _TYPES:
        raise FailedPreconditionError(
            f"{path}: tensor {node.name!r}: expected one of {', '.join(_TYPES)}, got {node.type}, "
            "which the agent's contract cannot carry; add a Cast to the model"
        )
    # A dimension is a number, or a name or None when it may have any length.
    shape = tuple(length if isinstance(length, int) and length >= 0 else -1 for length in node.shape)
    return TensorSpec(name=node.name, data_type=_TYPES[node.type], shape=shape)
