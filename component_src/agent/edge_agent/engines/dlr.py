# SPDX-License-Identifier: Apache-2.0
"""Models that SageMaker Neo compiled, run by the DLR library that their package brings."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_agent.engines.dlr_library import DlrError, DlrModel, open_library
from edge_agent.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from edge_contract import agent_pb2
from edge_contract.tensors import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edge_agent.engines import EngineOptions, WhenOver

_TYPES = {
    "uint8": agent_pb2.UINT8,
    "int16": agent_pb2.INT16,
    "int32": agent_pb2.INT32,
    "int64": agent_pb2.INT64,
    "float16": agent_pb2.FLOAT16,
    "float32": agent_pb2.FLOAT32,
    "float64": agent_pb2.FLOAT64,
}


class DlrEngine:
    """A compiled model; runs one prediction at a time, as the library asks for. See ``Engine``.

    The library reads its model from files. They are written anew from the verified bytes into a folder that only the
    agent can write, so that what is loaded is what was verified.

    Args:
        contents: The package's files by path.
        library: The path of ``libdlr.so`` among them.
        options: How to run it.

    Raises:
        FailedPreconditionError: The library cannot be opened here, or refuses the model.
    """

    def __init__(self, contents: Mapping[str, bytes], library: str, options: EngineOptions) -> None:
        self._lock = threading.Lock()
        opened = open_library(contents[library], options.native_root)
        self._folder = _write(contents, options.native_root)
        try:
            self._model: DlrModel | None = DlrModel(opened, self._folder / PurePosixPath(library).parent)
        except DlrError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise FailedPreconditionError(f"{library}: DLR cannot load the model: {error}") from None
        try:
            self._model.set_threads(options.threads)
            self.name = f"dlr/{self._model.backend}"
            self._input_names = [self._model.input_name(index) for index in range(self._model.count("Input"))]
            self.inputs = tuple(
                _spec(self._model, "Input", index, name) for index, name in enumerate(self._input_names)
            )
            self.outputs = tuple(
                _spec(self._model, "Output", index, self._model.output_name(index) or f"output-{index}".encode())
                for index in range(self._model.count("Output"))
            )
        except (DlrError, FailedPreconditionError) as error:
            self.close()
            raise FailedPreconditionError(f"{library}: DLR cannot describe the model: {error}") from None

    def run(
        self,
        feeds: Mapping[str, np.ndarray[Any, Any]],
        *,
        when_over: WhenOver | None = None,  # noqa: ARG002 # DLR cannot be interrupted
    ) -> list[np.ndarray[Any, np.dtype[Any]]]:
        """See ``Engine``."""
        with self._running() as model:
            try:
                for name, spec in zip(self._input_names, self.inputs):
                    model.set_input(name, np.ascontiguousarray(feeds[spec.name]))
            except DlrError as error:
                raise InvalidArgumentError(f"DLR refuses the inputs: {error}") from None
            model.run()
            # For some backends an output's shape is known only now.
            outputs = [np.empty(_known(model.shape("Output", i)), spec.dtype) for i, spec in enumerate(self.outputs)]
            for index, output in enumerate(outputs):
                model.get_output(index, output)
            return outputs

    def close(self) -> None:
        """See ``Engine``."""
        with self._lock:
            if self._model is not None:
                model, self._model = self._model, None
                with contextlib.suppress(DlrError):
                    model.delete()
                shutil.rmtree(self._folder, ignore_errors=True)

    @contextlib.contextmanager
    def _running(self) -> Iterator[DlrModel]:
        with self._lock:
            if self._model is None:
                raise NotFoundError("the model was unloaded in the meantime; load it again")
            yield self._model


def _write(contents: Mapping[str, bytes], root: Path) -> Path:
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="model-", dir=root))
    try:
        for path, content in contents.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def _spec(model: DlrModel, kind: str, index: int, name: bytes) -> TensorSpec:
    element = model.type(kind, index)
    # Converters have written names that are no UTF-8; the contract's are, so the bytes that are not become U+FFFD.
    text = name.decode(errors="replace")
    if element not in _TYPES:
        raise FailedPreconditionError(f"tensor {text!r}: expected one of {', '.join(_TYPES)}, got {element!r}")
    shape = tuple(length if length >= 0 else -1 for length in model.shape(kind, index))
    return TensorSpec(name=text, data_type=_TYPES[element], shape=shape)


def _known(shape: tuple[int, ...]) -> tuple[int, ...]:
    if min(shape, default=0) < 0:
        raise DlrError(f"GetDLROutputShape: expected a known shape after the run, got {shape}")
    return shape
