# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading


class Stopping(Exception):  # noqa: N818 # not an error: the process was asked to end
    """The component was asked to stop while it waited."""


class Changed(Exception):  # noqa: N818 # not an error: the configuration is to be read again
    """The configuration changed while the component waited."""


class Control:
    """What the loop is told from outside: to stop, and that its configuration changed. Safe in every thread."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._stopping = False
        self._changed = False

    @property
    def stopping(self) -> bool:
        """Whether the component was asked to stop."""
        with self._condition:
            return self._stopping

    def stop(self) -> None:
        """Ask for an end; it cannot be taken back."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()

    def change(self) -> None:
        """Say that the configuration changed."""
        with self._condition:
            self._changed = True
            self._condition.notify_all()

    def take_change(self) -> bool:
        """Whether the configuration changed since the last time this was asked."""
        with self._condition:
            changed, self._changed = self._changed, False
            return changed

    def wait(self, seconds: float) -> None:
        """Sleep, but not through what one is told.

        Raises:
            Stopping: the component is to stop.
            Changed: the configuration changed; it stays so until `take_change`.
        """
        with self._condition:
            self._condition.wait_for(lambda: self._stopping or self._changed, timeout=seconds)
            if self._stopping:
                raise Stopping
            if self._changed:
                raise Changed
