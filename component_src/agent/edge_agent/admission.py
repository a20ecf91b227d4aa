# SPDX-License-Identifier: Apache-2.0
"""How many predictions run and how many wait: both bounded, and nobody waits longer than its caller does."""

from __future__ import annotations

import collections
import contextlib
import threading
from typing import TYPE_CHECKING

from edge_agent.errors import CancelledError, DeadlineExceededError, ResourceExhaustedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_agent.service import Call


class _Ticket:
    """One that waits; ``called`` is set when it is its turn, or when it need not wait any more."""

    def __init__(self) -> None:
        self.called = threading.Event()
        self.admitted = False


class Admission:
    """Lets calls run in the order in which they came; safe to use from several threads.

    Args:
        running: How many may run at the same time; 1 is Edge Manager's behaviour.
        waiting: How many may wait for that.
    """

    def __init__(self, *, running: int, waiting: int) -> None:
        self._most_running = running
        self._most_waiting = waiting
        self._lock = threading.Lock()
        self._running = 0
        self._waiting: collections.deque[_Ticket] = collections.deque()

    @contextlib.contextmanager
    def admitted(self, call: Call) -> Iterator[None]:
        """Wait for a place, and hold it while the block runs.

        Raises:
            ResourceExhaustedError: As many wait as may.
            DeadlineExceededError: The caller's time was over first.
            CancelledError: The caller went away.
        """
        ticket = self._enter()
        if ticket is not None:
            self._wait(ticket, call)
        try:
            check_wanted(call)
            yield
        finally:
            self._leave()

    def _enter(self) -> _Ticket | None:
        with self._lock:
            if self._running < self._most_running:
                self._running += 1
                return None
            if len(self._waiting) >= self._most_waiting:
                raise ResourceExhaustedError(
                    f"predictions: {self._running} run (MaxConcurrentPredictions) and {len(self._waiting)} wait "
                    f"(MaxQueuedPredictions), expected fewer; predict again in a moment"
                )
            ticket = _Ticket()
            self._waiting.append(ticket)
            return ticket

    def _wait(self, ticket: _Ticket, call: Call) -> None:
        try:
            call.when_over(ticket.called.set)
            remaining = call.remaining()
            # A deadline may lie further away than the clock can wait.
            ticket.called.wait(None if remaining is None else min(remaining, threading.TIMEOUT_MAX))
        except BaseException:
            if not self._withdraw(ticket):
                self._leave()
            raise
        if not self._withdraw(ticket):
            return
        check_wanted(call)
        raise CancelledError("the caller went away while the prediction waited")

    def _withdraw(self, ticket: _Ticket) -> bool:
        """Wait no longer; false when the place was given meanwhile, and is held."""
        with self._lock:
            if ticket.admitted:
                return False
            self._waiting.remove(ticket)
            return True

    def resize(self, *, running: int, waiting: int) -> None:
        """Change the bounds; what runs or waits already is not sent away."""
        with self._lock:
            self._most_running, self._most_waiting = running, waiting
            self._call_next()

    def _leave(self) -> None:
        with self._lock:
            self._running -= 1
            self._call_next()

    def _call_next(self) -> None:
        while self._waiting and self._running < self._most_running:
            self._running += 1
            ticket = self._waiting.popleft()
            ticket.admitted = True
            ticket.called.set()


def check_wanted(call: Call) -> None:
    """Refuse to work for nobody.

    Raises:
        DeadlineExceededError: The caller's time is over.
        CancelledError: The caller is gone.
    """
    remaining = call.remaining()
    if remaining is not None and remaining <= 0:
        raise DeadlineExceededError("the caller's time was over before the prediction could run")
    if not call.active():
        raise CancelledError("the caller went away before the prediction could run")
