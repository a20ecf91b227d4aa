# SPDX-License-Identifier: Apache-2.0
"""The C interface of a DLR library, as ``dlr.h`` of neo-ai-dlr has it, through ctypes."""

from __future__ import annotations

import ctypes
import hashlib
import os
import threading
from ctypes import POINTER, byref, c_bool, c_char_p, c_int, c_int64, c_void_p
from typing import TYPE_CHECKING, Any

from edge_agent.errors import FailedPreconditionError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

_CPU, _DEVICE = 1, 0
_MODEL = POINTER(c_void_p)  # DLRModelHandle*: every function takes the handle's address
_MOST_TENSORS, _MOST_DIMENSIONS = 1024, 32
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "CreateDLRModel": (_MODEL, c_char_p, c_int, c_int),
    "DeleteDLRModel": (_MODEL,),
    "RunDLRModel": (_MODEL,),
    "GetDLRNumInputs": (_MODEL, POINTER(c_int)),
    "GetDLRNumOutputs": (_MODEL, POINTER(c_int)),
    "GetDLRInputName": (_MODEL, c_int, POINTER(c_char_p)),
    "GetDLRInputType": (_MODEL, c_int, POINTER(c_char_p)),
    "GetDLRInputSizeDim": (_MODEL, c_int, POINTER(c_int64), POINTER(c_int)),
    "GetDLRInputShape": (_MODEL, c_int, POINTER(c_int64)),
    "GetDLROutputType": (_MODEL, c_int, POINTER(c_char_p)),
    "GetDLROutputSizeDim": (_MODEL, c_int, POINTER(c_int64), POINTER(c_int)),
    "GetDLROutputShape": (_MODEL, c_int, POINTER(c_int64)),
    "GetDLROutput": (_MODEL, c_int, c_void_p),
    "SetDLRInput": (_MODEL, c_char_p, POINTER(c_int64), c_void_p, c_int),
    "GetDLRBackend": (_MODEL, POINTER(c_char_p)),
}
#: Later versions of the library have these; without them a model runs all the same.
_OPTIONAL: dict[str, tuple[Any, ...]] = {
    "GetDLRHasMetadata": (_MODEL, POINTER(c_bool)),
    "GetDLROutputName": (_MODEL, c_int, POINTER(c_char_p)),
    "SetDLRNumThreads": (_MODEL, c_int),
}


class DlrError(Exception):
    """The library refused; the message is its own."""


class DlrLibrary:
    """One opened library.

    Args:
        path: The library; it stays open for the rest of the process, so the file must not change.

    Raises:
        FailedPreconditionError: It cannot be opened here, or is no DLR.
    """

    def __init__(self, path: Path) -> None:
        try:
            # Local: two packages may bring two versions with the same names.
            self._library = ctypes.CDLL(str(path), mode=os.RTLD_NOW | os.RTLD_LOCAL)
            for name, arguments in _SIGNATURES.items():
                getattr(self._library, name).argtypes = arguments
            self._library.DLRGetLastError.argtypes = ()
            self._library.DLRGetLastError.restype = c_char_p
        except (OSError, AttributeError) as error:
            raise FailedPreconditionError(
                f"{path.name}: expected the DLR library for this device's processor and C library: {error}"
            ) from None
        self._optional = set()
        for name, arguments in _OPTIONAL.items():
            if hasattr(self._library, name):
                getattr(self._library, name).argtypes = arguments
                self._optional.add(name)

    def has(self, name: str) -> bool:
        """Whether the library has a function that early versions lack."""
        return name in self._optional

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function.

        Raises:
            DlrError: It failed.
        """
        if getattr(self._library, name)(*arguments) != 0:
            said = self._library.DLRGetLastError() or b"no reason given"
            raise DlrError(f"{name}: {said.decode(errors='replace')}")


class DlrModel:
    """A model of a library; not for two threads at once.

    Raises:
        DlrError: The library refuses the folder.
    """

    def __init__(self, library: DlrLibrary, folder: Path) -> None:
        self._library = library
        self._handle = c_void_p()
        library.call("CreateDLRModel", byref(self._handle), os.fsencode(folder), _CPU, _DEVICE)

    def delete(self) -> None:
        """Free the model. It must not be used after that."""
        self._call("DeleteDLRModel")

    def count(self, kind: str) -> int:
        """How many ``Input`` or ``Output`` tensors the model has."""
        number = c_int()
        self._call(f"GetDLRNum{kind}s", byref(number))
        if not 0 < number.value <= _MOST_TENSORS:
            raise DlrError(f"GetDLRNum{kind}s: expected 1 to {_MOST_TENSORS}, got {number.value}")
        return number.value

    def input_name(self, index: int) -> bytes:
        """The name of an input, as ``set_input`` takes it."""
        return self._text("GetDLRInputName", index)

    def output_name(self, index: int) -> bytes:
        """The name of an output; empty when the library does not know it."""
        known = c_bool()
        if self._library.has("GetDLRHasMetadata") and self._library.has("GetDLROutputName"):
            self._call("GetDLRHasMetadata", byref(known))
        return self._text("GetDLROutputName", index) if known.value else b""

    def type(self, kind: str, index: int) -> str:
        """The element type of an ``Input`` or ``Output`` as numpy calls it."""
        return self._text(f"GetDLR{kind}Type", index).decode("ascii", errors="replace")

    def shape(self, kind: str, index: int) -> tuple[int, ...]:
        """The shape of an ``Input`` or ``Output``; -1 where it is not known yet."""
        size, rank = c_int64(), c_int()
        self._call(f"GetDLR{kind}SizeDim", index, byref(size), byref(rank))
        if not 0 <= rank.value <= _MOST_DIMENSIONS:
            raise DlrError(f"GetDLR{kind}SizeDim: expected 0 to {_MOST_DIMENSIONS} dimensions, got {rank.value}")
        shape = (c_int64 * max(rank.value, 1))()
        self._call(f"GetDLR{kind}Shape", index, shape)
        return tuple(shape[: rank.value])

    @property
    def backend(self) -> str:
        """What runs the model inside the library: ``tvm``, ``relayvm``, ``treelite``."""
        text = c_char_p()
        self._call("GetDLRBackend", byref(text))
        return (text.value or b"").decode(errors="replace")

    def set_threads(self, threads: int) -> None:
        """Let a run use so many threads, where the library can be told."""
        if self._library.has("SetDLRNumThreads"):
            self._call("SetDLRNumThreads", threads)

    def set_input(self, name: bytes, array: np.ndarray[Any, Any]) -> None:
        """Copy an input, which must be contiguous, into the model."""
        shape = (c_int64 * max(array.ndim, 1))(*array.shape)
        self._call("SetDLRInput", name, shape, array.ctypes.data, array.ndim)

    def run(self) -> None:
        """Run the model on its inputs."""
        self._call("RunDLRModel")

    def get_output(self, index: int, array: np.ndarray[Any, Any]) -> None:
        """Copy an output into an array of its type and shape."""
        self._call("GetDLROutput", index, array.ctypes.data)

    def _text(self, function: str, index: int) -> bytes:
        text = c_char_p()
        self._call(function, index, byref(text))
        return text.value or b""

    def _call(self, name: str, *arguments: Any) -> None:
        self._library.call(name, byref(self._handle), *arguments)


_OPEN: dict[str, DlrLibrary] = {}
_LOCK = threading.Lock()


def open_library(content: bytes, folder: Path) -> DlrLibrary:
    """Open a library, once for each content: closing one whose threads may still run would end the process.

    Args:
        content: The library's verified bytes.
        folder: Where they are written for the loader; private to this process.

    Raises:
        FailedPreconditionError: It cannot be opened here, or is no DLR.
    """
    digest = hashlib.sha256(content).hexdigest()
    with _LOCK:
        if digest not in _OPEN:
            path = folder / digest / "libdlr.so"
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_bytes(content)
            _OPEN[digest] = DlrLibrary(path)
        return _OPEN[digest]
