# SPDX-License-Identifier: Apache-2.0
"""The client's half of shared memory: segments that are used again and again, and that nobody has to clean up.

A segment is attached, marked for removal and made read-only the moment it exists. Linux keeps such a segment until its
last attachment ends, lets the agent attach it by its id all the same, and ends attachments with their process. So the
kernel frees it when the client and the agent are gone or done, also after SIGKILL. What is left is the time between
``shmget`` and ``shmctl(IPC_RMID)``: a few microseconds once per segment.

The read-only mode (Edge Manager's rule: no write or execute bit for anyone) stays on: the client's own attachment was
made before and remains writable.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_contract import sysv
from edge_contract.wire import SharedMemory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

#: Below this, copying through the socket is as quick; AWS recommends the same number.
THRESHOLD_BYTES = 256 * 1024
_OWNER, _READ_ONLY = 0o600, 0o400
_PAGE = 4096


class SharedTensor:
    """A segment of shared memory that an agent of the same user can read.

    Args:
        size: Bytes.

    Raises:
        OSError: The kernel has no such segment to give.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.segment_id = sysv.create(max(size, 1), _OWNER)
        self._owner = os.getpid()
        self._address: int | None = None
        try:
            self._address = sysv.attach(self.segment_id, read_only=False)
        finally:
            sysv.remove(self.segment_id)
        sysv.set_mode(self.segment_id, _READ_ONLY)

    def array(self, shape: Sequence[int], dtype: npt.DTypeLike) -> np.ndarray[Any, np.dtype[Any]]:
        """View the segment's start as a writable array; it must not be used after ``close``.

        Raises:
            ValueError: The array does not fit, or the segment is closed.
        """
        if self._address is None:
            raise ValueError("shared tensor: expected an open one, it was closed")
        kind = np.dtype(dtype)
        count = int(np.prod(tuple(shape), dtype=object))
        if count * kind.itemsize > self.size:
            raise ValueError(f"shared tensor: expected at most {self.size} bytes, got {kind} of {tuple(shape)}")
        return np.frombuffer(sysv.view(self._address, self.size), dtype=kind, count=count).reshape(tuple(shape))

    def place(self, size: int) -> SharedMemory:
        """Where the agent finds the first ``size`` bytes."""
        return SharedMemory(segment_id=self.segment_id, size=size)

    def close(self) -> None:
        """End this process's attachment. May be called again."""
        address, self._address = self._address, None
        if address is not None and os.getpid() == self._owner:
            sysv.detach(address)


class SharedTensorRing:
    """Segments for the tensors of running calls; each is used again when its call is over. Usable from any thread.

    Args:
        max_bytes: Bound of all segments together.
        max_segments: Bound of their number.
    """

    def __init__(self, *, max_bytes: int = 256 * 1024 * 1024, max_segments: int = 16) -> None:
        self._max_bytes = max_bytes
        self._max_segments = max_segments
        self._lock = threading.Lock()
        self._free: list[SharedTensor] = []  # the one used last at the end: its pages are warm
        self._bytes = 0
        self._segments = 0
        self._closed = False
        self._owner = os.getpid()

    @contextlib.contextmanager
    def borrow(self, size: int) -> Iterator[SharedTensor | None]:
        """Have a segment of at least ``size`` bytes for one call; None when the bounds leave none.

        A call that ends with an exception may leave the agent reading, so its segment is not used again.
        """
        segment = self._take(size)
        if segment is None:
            yield None
            return
        try:
            yield segment
        except BaseException:
            self._drop(segment)
            raise
        with self._lock:
            if not self._closed:
                self._free.append(segment)
                return
        self._drop(segment)

    def close(self) -> None:
        """End the attachments of unused segments now, and of borrowed ones when they come back."""
        with self._lock:
            self._closed = True
            free, self._free = self._free, []
        for segment in free:
            self._drop(segment)

    def _take(self, size: int) -> SharedTensor | None:
        capacity = -(-size // _PAGE) * _PAGE
        with self._lock:
            if self._owner != os.getpid():  # a forked child shares its parent's pages: it needs its own
                self._free, self._bytes, self._segments, self._owner = [], 0, 0, os.getpid()
            # Not one that is much too large: a big frame's segment stays free for the next big frame.
            fitting = [segment for segment in self._free if capacity <= segment.size <= 2 * capacity]
            if fitting:
                self._free.remove(fitting[-1])
                return fitting[-1]
            while self._free and not self._room_for(capacity):
                self._forget(self._free.pop(0))
            if self._closed or not self._room_for(capacity):
                return None
            try:
                segment = SharedTensor(capacity)
            except OSError:  # the kernel's own bounds; the caller sends the bytes
                return None
            self._bytes += capacity
            self._segments += 1
            return segment

    def _room_for(self, capacity: int) -> bool:
        return self._segments < self._max_segments and self._bytes + capacity <= self._max_bytes

    def _drop(self, segment: SharedTensor) -> None:
        with self._lock:
            self._forget(segment)

    def _forget(self, segment: SharedTensor) -> None:
        self._bytes -= segment.size
        self._segments -= 1
        segment.close()
