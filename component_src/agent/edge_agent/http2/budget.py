# SPDX-License-Identifier: Apache-2.0
"""Memory that all connections share."""

from __future__ import annotations

import threading


class Budget:
    """Bytes that are taken and given back; safe to use from several threads.

    Args:
        size: How many there are.
    """

    def __init__(self, size: int) -> None:
        self._left = size
        self._lock = threading.Lock()

    @property
    def left(self) -> int:
        """How many bytes nobody has."""
        return self._left

    def take(self, count: int) -> bool:
        """Whether there are so many; if so, they must be given back."""
        with self._lock:
            if self._left < count:
                return False
            self._left -= count
            return True

    def give(self, count: int) -> None:
        """Give back what was taken."""
        with self._lock:
            self._left += count
