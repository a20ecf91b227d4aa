# SPDX-License-Identifier: Apache-2.0
"""A thread that repeats a step until it is stopped, and backs off while the step fails."""

from __future__ import annotations

import logging
import random
import threading
from typing import Callable

from edge_agent.captures.destinations import DeliveryError, NoRoomError
from edge_agent.log import log_defect

_LOG = logging.getLogger(__name__)
_FIRST_DELAY_SECONDS = 1.0
_LONGEST_DELAY_SECONDS = 60.0


def backoff(failures: int, *, first: float = _FIRST_DELAY_SECONDS, longest: float = _LONGEST_DELAY_SECONDS) -> float:
    """Seconds to wait after so many failures in a row: doubling, half of it random so that a fleet spreads out."""
    ceiling = min(longest, first * 2.0 ** min(failures - 1, 32))
    return random.uniform(ceiling / 2, ceiling)  # noqa: S311 # nothing secret depends on it


class Worker:
    """Runs ``step`` again and again in a thread of its own.

    Args:
        name: The thread's name, also in the log.
        step: Does one piece of work, waiting at most a second for it; false when there was none.
    """

    def __init__(self, name: str, step: Callable[[], bool]) -> None:
        self._name = name
        self._step = step
        self._stopping = threading.Event()
        # A daemon: an upload that hangs must not keep the process from ending, the spool has everything.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def stopping(self) -> threading.Event:
        """Set from the call of ``stop`` on."""
        return self._stopping

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End at the first step that has nothing to do, or that fails."""
        self._stopping.set()

    def join(self, seconds: float) -> bool:
        """Wait for the end; false when it did not come in time."""
        self._thread.join(max(seconds, 0.0))
        return not self._thread.is_alive()

    def _run(self) -> None:
        failures = 0
        full = False
        while True:
            try:
                worked = self._step()
            except Exception as error:  # noqa: BLE001 # a defect must not end the thread on which all captures depend
                failures += 1
                delay = backoff(failures)
                # It may last for weeks; it is told once until something works again.
                if not (full and isinstance(error, NoRoomError)):
                    self._log(error, delay)
                full = isinstance(error, NoRoomError)
                if self._stopping.wait(delay):
                    return
                continue
            failures = 0
            full = False
            if self._stopping.is_set() and not worked:
                return

    def _log(self, error: Exception, delay: float) -> None:
        if isinstance(error, (DeliveryError, OSError)):
            fields = {"worker": self._name, "error": str(error), "retry_seconds": round(delay, 1)}
            _LOG.warning("delivery_failed", extra={"fields": fields})
        else:
            log_defect(_LOG, where=self._name)
