# SPDX-License-Identifier: Apache-2.0
"""What runs models: one class for each runtime. Which one follows from the package's files."""

from __future__ import annotations

import dataclasses
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Callable, Protocol

from edge_agent.errors import FailedPreconditionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from edge_contract.tensors import TensorSpec

#: Registers a function to be called when a call is over.
WhenOver = Callable[[Callable[[], None]], None]
#: Which packages may bring a runtime of their own, that is, native code that runs in the agent's process.
NATIVE_SIGNED, NATIVE_ALWAYS, NATIVE_NEVER = "Signed", "Always", "Never"
_ONNX_SUFFIX = ".onnx"
_DLR_LIBRARY = "libdlr.so"


@dataclasses.dataclass(frozen=True)
class EngineOptions:
    """How models are run.

    Attributes:
        threads: How many threads one prediction may use.
        execution_providers: ONNX Runtime's, in order of preference.
        native_runtimes: One of ``NATIVE_SIGNED``, ``NATIVE_ALWAYS`` and ``NATIVE_NEVER``.
        native_root: Where the files of such packages are put for their runtime; private to this process.
    """

    threads: int
    execution_providers: Sequence[str]
    native_runtimes: str
    native_root: Path


class Engine(Protocol):
    """A loaded model, usable from several threads.

    Attributes:
        name: The runtime, for logs and reports.
        inputs: What the model takes, in its order.
        outputs: What the model gives, in its order.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def run(
        self, feeds: Mapping[str, np.ndarray[Any, Any]], *, when_over: WhenOver | None = None
    ) -> list[np.ndarray[Any, np.dtype[Any]]]:
        """Run the model once.

        Args:
            feeds: An array for each input by name, of its type and rank.
            when_over: Takes what is to be called once nobody waits for the result any more; a runtime that can be
                interrupted then is.

        Returns:
            An array for each output, in the model's order.

        Raises:
            CancelledError: It was interrupted, as nobody waits for the result any more.
            InvalidArgumentError: The runtime refuses the inputs.
            NotFoundError: The model was unloaded in the meantime.
        """

    def close(self) -> None:
        """Give back what the model holds, when the runs that have begun are over."""


def open_engine(contents: Mapping[str, bytes], options: EngineOptions, *, signed: bool) -> Engine:
    """Load a verified package's model into the runtime that its files are for.

    Args:
        contents: The package's files by path.
        options: How to run it.
        signed: Whether the package's signature was verified.

    Raises:
        FailedPreconditionError: No runtime here can run it, or its own runtime is not allowed to.
    """
    models = sorted(path for path in contents if path.endswith(_ONNX_SUFFIX))
    libraries = sorted(path for path in contents if PurePosixPath(path).name == _DLR_LIBRARY)
    if len(models) + len(libraries) != 1:
        raise FailedPreconditionError(
            f"package: expected exactly one {_ONNX_SUFFIX} file, or one {_DLR_LIBRARY} as SageMaker Neo puts it there; "
            f"got {', '.join(models + libraries) or 'none'} among {', '.join(sorted(contents))}"
        )
    if models:
        from edge_agent.engines.onnx import OnnxEngine  # noqa: PLC0415 # a device of Neo packages needs none of it

        return OnnxEngine(contents, models[0], options)
    if options.native_runtimes == NATIVE_NEVER or (options.native_runtimes == NATIVE_SIGNED and not signed):
        want = "an ONNX model" if options.native_runtimes == NATIVE_NEVER else "a signature that a trusted key verifies"
        raise FailedPreconditionError(
            f"{libraries[0]}: the package brings a native runtime; NativeRuntimes is {options.native_runtimes}: "
            f"expected {want}"
        )
    from edge_agent.engines.dlr import DlrEngine  # noqa: PLC0415 # the same the other way round

    return DlrEngine(contents, libraries[0], options)
