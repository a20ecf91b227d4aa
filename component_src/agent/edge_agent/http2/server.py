# SPDX-License-Identifier: Apache-2.0
"""The server: clients come in, share its bounds, and are let go."""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import socket
import threading
import time
from typing import TYPE_CHECKING, Callable

from edge_agent import service
from edge_agent.http2.budget import Budget
from edge_agent.http2.connection import Connection
from edge_agent.http2.overseer import Overseer, safely

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edge_agent.http2.overseer import Timed
    from edge_agent.service import Service

_LOG = logging.getLogger(__name__)
_MOST_CONNECTIONS = 128  # each has a thread; the one that was idle longest makes room for a new one
_MESSAGES = 4  # of the longest kind, that may be received or answered at the same time; as many may wait to be sent
_BACKLOG = 64
_PAUSE_SECONDS = 0.2
_ABORT_SECONDS = 0.5


class _Pause:
    """Listens again after a moment in which no client could be taken."""

    def __init__(self, resume: Callable[[], None]) -> None:
        self.deadline: float | None = time.monotonic() + _PAUSE_SECONDS
        self.late = resume


class Http2Server:
    """See ``transport.Transport``.

    Args:
        answering: What answers.
        most_bytes: Longest message in either direction.
        most_calls: How many calls may run or wait at the same time.
    """

    def __init__(self, answering: Service, *, most_bytes: int, most_calls: int) -> None:
        self.service = answering
        self.overseer = Overseer()
        self.rpcs: Mapping[bytes, str] = {f"/{service.NAME}/{rpc}".encode(): rpc for rpc in answering.rpcs}
        self.most_bytes = most_bytes
        self.most_calls = most_calls
        self.expect = self.overseer.expect
        self.expect_no_more: Callable[[Timed], None] = self.overseer.expect_no_more
        self.answers = Budget(_MESSAGES * most_bytes)
        self._requests = Budget(_MESSAGES * most_bytes)
        self.reserve = self._requests.take
        self.release: Callable[[int], None] = self._requests.give
        self._running = 0
        self._lock = threading.Lock()
        self._connections: set[Connection] = set()
        self._dismissed: set[Connection] = set()  # of those, the ones that are being let go
        self._nobody = threading.Event()
        self._leaving = False
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._workers = concurrent.futures.ThreadPoolExecutor(_MOST_CONNECTIONS + most_calls, "http2")

    def listen(self, path: Path) -> None:
        """See ``transport.Transport``."""
        self._listener.bind(str(path))
        self._listener.listen(_BACKLOG)
        self._listener.setblocking(False)  # noqa: FBT003 # the socket's own signature

    def start(self) -> None:
        """See ``transport.Transport``."""
        self.overseer.add(self._listener, self._accept)
        self.overseer.start()
        self.overseer.watch(self._listener)

    def stop(self, seconds: float) -> threading.Event:
        """See ``transport.Transport``."""
        done = threading.Event()
        self.overseer.remove(self._listener)
        self._listener.close()
        threading.Thread(target=self._drain, args=(seconds, done), name="http2-drain", daemon=True).start()
        return done

    def _drain(self, seconds: float, done: threading.Event) -> None:
        with self._lock:
            self._leaving = True
            connections = list(self._connections)
        for connection in connections:
            self.run(connection.leave)
        if not self._all_gone(seconds):
            with self._lock:
                connections = list(self._connections)
            for connection in connections:
                connection.abort()
            self._all_gone(_ABORT_SECONDS)
        self.overseer.stop()
        self._workers.shutdown(wait=False)
        done.set()

    def _all_gone(self, seconds: float) -> bool:
        with self._lock:
            if not self._connections:
                return True
            self._nobody.clear()
        return self._nobody.wait(seconds)

    # --- for connections ----------------------------------------------------------------------------------------------
    def run(self, work: Callable[[], None]) -> None:
        """See ``connection.Host``."""
        self._workers.submit(safely, work)

    def begin_call(self) -> bool:
        """See ``calls.Limits``."""
        with self._lock:
            if self._running >= self.most_calls:
                return False
            self._running += 1
            return True

    def end_call(self) -> None:
        """See ``calls.Limits``."""
        with self._lock:
            self._running -= 1

    def gone(self, connection: Connection) -> None:
        """See ``connection.Host``."""
        with self._lock:
            self._connections.discard(connection)
            self._dismissed.discard(connection)
            if not self._connections:
                self._nobody.set()

    # --- for clients --------------------------------------------------------------------------------------------------
    def _accept(self) -> None:
        """Take one client; in the overseer's thread."""
        try:
            accepted, _ = self._listener.accept()
        except BlockingIOError:
            self._resume()
        except OSError as error:  # no descriptors or memory are left: the others are answered all the same
            if self._listener.fileno() >= 0:
                self._refuse(str(error))
                self._make_room()
                self.expect(_Pause(self._resume))
        else:
            try:
                self._begin(accepted)
            finally:
                self._resume()

    def _begin(self, accepted: socket.socket) -> None:
        with self._lock:
            full = len(self._connections - self._dismissed) >= _MOST_CONNECTIONS
        if full and not self._make_room():
            self._refuse(f"expected at most {_MOST_CONNECTIONS} clients, that many call at this moment")
            accepted.close()
            return
        with self._lock:
            if self._leaving:
                accepted.close()
                return
            connection = Connection(accepted, self)
            self._connections.add(connection)
        connection.greet()
        self.run(connection.begin)

    def _make_room(self) -> bool:
        """Let the client go that was idle longest; whether there was one."""
        with self._lock:
            staying = self._connections - self._dismissed
            idle = {one: since for one in staying if (since := one.idle_since) is not None}
            if not idle:
                return False
            dismissed = min(idle, key=lambda one: idle[one])
            self._dismissed.add(dismissed)
        self.run(dismissed.leave)
        return True

    @staticmethod
    def _refuse(why: str) -> None:
        _LOG.warning("client_refused", extra={"fields": {"error": why}})

    def _resume(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # it is closed when the agent stops
            self.overseer.watch(self._listener)
