# SPDX-License-Identifier: Apache-2.0
"""Memory that is free goes back to the device."""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Return what was freed to the system, as far as the C library knows how (glibc's ``malloc_trim``).

    Loading a model frees its file and what ONNX Runtime made of it on the way, about as much as the model keeps; glibc
    would hold on to it for as long as the agent runs.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))
