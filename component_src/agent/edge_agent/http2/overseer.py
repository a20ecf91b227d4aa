# SPDX-License-Identifier: Apache-2.0
"""One thread that sleeps until something needs it: a new client, a socket that nobody reads, a deadline."""

from __future__ import annotations

import contextlib
import logging
import math
import select
import socket
import threading
import time
from typing import TYPE_CHECKING, Callable, Protocol

from edge_agent.log import log_defect

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOG = logging.getLogger(__name__)
_ONCE = select.EPOLLONESHOT
_READABLE = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLONESHOT
_LONGEST_SLEEP_SECONDS = 3600.0  # epoll refuses to wait beyond 24 days; callers' deadlines may be centuries away


class Timed(Protocol):
    """What has a deadline, on the clock of ``time.monotonic``."""

    deadline: float | None

    def late(self) -> None:
        """The deadline is over."""


class Overseer:
    """Watches sockets and deadlines. Nothing that it calls may take long; safe to use from several threads."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)  # noqa: FBT003 # the socket's own signature
        self._epoll.register(self._wake_read, select.EPOLLIN)
        self._lock = threading.Lock()
        self._on_readable: dict[int, Callable[[], None]] = {}
        self._timed: set[Timed] = set()
        # When it will look at deadlines next. That is the earliest one of some time ago, of which nothing may be left:
        # while calls come and go, it is woken once in a while and not for each of them.
        self._next = math.inf
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="overseer", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopped = True
        self._wake()
        if self._thread.ident is not None:
            self._thread.join()
        self._epoll.close()
        self._wake_read.close()
        self._wake_write.close()

    def add(self, watched: socket.socket, on_readable: Callable[[], None]) -> None:
        """Know a socket, which is not watched yet."""
        self._on_readable[watched.fileno()] = on_readable
        self._epoll.register(watched, _ONCE)

    def watch(self, watched: socket.socket) -> None:
        """Call its function once when there is something to read, or the end."""
        self._modify(watched, _READABLE)

    def ignore(self, watched: socket.socket) -> None:
        """Do not; a call that is under way may still come."""
        self._modify(watched, _ONCE)

    def _modify(self, watched: socket.socket, events: int) -> None:
        with contextlib.suppress(OSError, ValueError):  # after the end nothing is watched any more
            self._epoll.modify(watched, events)

    def remove(self, watched: socket.socket) -> None:
        """Forget a socket, before it is closed."""
        self._on_readable.pop(watched.fileno(), None)
        with contextlib.suppress(OSError, ValueError):
            self._epoll.unregister(watched)

    def expect(self, timed: Timed) -> None:
        """Call ``late`` when a deadline is over."""
        deadline = timed.deadline
        if deadline is None:
            return
        with self._lock:
            self._timed.add(timed)
            sooner = deadline < self._next
            if sooner:
                self._next = deadline
        if sooner:
            self._wake()

    def expect_no_more(self, timed: Timed) -> None:
        """Do not."""
        with self._lock:
            self._timed.discard(timed)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._wake_write.send(b"\0", socket.MSG_DONTWAIT)

    def _run(self) -> None:
        while not self._stopped:
            left = self._next - time.monotonic()
            events = self._epoll.poll(min(max(left, 0.0), _LONGEST_SLEEP_SECONDS))
            for number, _ in events:
                if number == self._wake_read.fileno():
                    self._wake_read.recv(4096)
                    continue
                on_readable = self._on_readable.get(number)
                if on_readable is not None:
                    safely(on_readable)
            for timed in self._overdue():
                safely(timed.late)

    def _overdue(self) -> Iterator[Timed]:
        now = time.monotonic()
        if now < self._next:
            return iter(())
        with self._lock:
            late = [timed for timed in self._timed if (timed.deadline or 0) <= now]
            self._timed.difference_update(late)
            self._next = min((timed.deadline or 0 for timed in self._timed), default=math.inf)
        return iter(late)


def safely(work: Callable[[], None]) -> None:
    """Do something in a thread that must outlive its failure: that is told in the log."""
    try:
        work()
    except Exception:  # noqa: BLE001 # one connection's defect must not cost the others their thread
        log_defect(_LOG, where="http2")
