# SPDX-License-Identifier: Apache-2.0
"""One client: its frames are read, its calls answered, by one thread as long as it asks one thing at a time.

At most one thread reads a connection. When a request is whole and nothing more has come, that thread answers it itself,
and nobody reads; the overseer has an eye on the socket meanwhile, and sends another reader the moment that something
comes: a second call, a cancellation, the connection's end. A thread that has answered reads again if nobody does. So a
client that waits for its answers costs no hand-over between threads, and one that does not is not kept waiting.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import socket
import threading
import time
from typing import TYPE_CHECKING, Callable, Protocol

from edge_agent.http2 import calls, frames
from edge_agent.http2.frames import ConnectionFaultError
from edge_agent.http2.reader import FrameReader
from edge_agent.http2.sink import Sink
from edge_agent.http2.source import Source
from edge_agent.http2.watch import Watch
from edge_agent.log import log_defect

if TYPE_CHECKING:
    from edge_agent.http2.budget import Budget
    from edge_agent.http2.exchange import Exchange
    from edge_agent.http2.overseer import Overseer
    from edge_agent.service import Service

_LOG = logging.getLogger(__name__)
_GREETING_SECONDS = 10.0


class Host(calls.Limits, Protocol):
    """What a connection needs of its server.

    Attributes:
        service: What answers.
        overseer: Watches the socket.
        answers: Bytes of answers that may wait until their clients take them.
    """

    service: Service
    overseer: Overseer
    answers: Budget

    def gone(self, connection: Connection) -> None:
        """The connection has ended."""


class _Greeting:
    """The time that a client has for its first frames."""

    def __init__(self, connection: Connection) -> None:
        self.deadline: float | None = time.monotonic() + _GREETING_SECONDS
        self.late = connection.abort


class Connection:
    """A client's connection.

    Args:
        accepted: Its socket, which is closed when the connection has ended.
        host: Its server.
    """

    def __init__(self, accepted: socket.socket, host: Host) -> None:
        accepted.setblocking(True)  # noqa: FBT003 # the socket's own signature
        self._socket = accepted
        self._host = host
        self._source = Source(accepted.recv_into)
        self._sink = Sink(accepted, host.answers)
        self._calls = calls.Calls(host, self._sink)
        self._frames = FrameReader(self._source, self._sink, self._calls)
        self._lock = threading.Lock()
        self._is_read = True  # by the thread that will begin
        self._ended = False
        self._greeting = _Greeting(self)
        self._watch = Watch(self._begun, expect=host.expect, end=self.abort)
        host.overseer.add(accepted, self._something_came)

    @property
    def idle_since(self) -> float | None:
        """When the last call ended, on the clock of ``time.monotonic``; None while one goes on."""
        return self._calls.idle_since if self._calls.idle() else None

    def greet(self) -> None:
        """Say what the client waits for before it calls; that fits into a new socket, and takes no time."""
        self._host.expect(self._greeting)
        self._host.expect(self._watch)
        self._frames.greet()

    def begin(self) -> None:
        """Be the first reader."""
        self._read(first=self._frames.greeting)

    def leave(self) -> None:
        """Let the peer call elsewhere from now on; what was asked is answered."""
        self._calls.leave()
        self._abort_when_left()

    def abort(self) -> None:
        """End now."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # who reads finds the end; if nobody does, the overseer does

    def _begun(self) -> frozenset[object]:
        """See ``Watch``: a frame of which a part has come, requests that are not whole, answers that are not taken."""
        frame = self._frames.begun()
        return frozenset(
            [
                *([("frame", frame)] if frame is not None else []),
                *(("request", stream) for stream in self._calls.begun()),
                *(("answer", stream) for stream in self._sink.begun()),
            ]
        )

    def _abort_when_left(self) -> None:
        if self._calls.left():
            self.abort()

    # --- reading ------------------------------------------------------------------------------------------------------
    def _read(self, *, first: Callable[[], None] | None = None) -> None:
        """Read until the connection ends or another thread reads; only for the reader."""
        try:
            if first is not None:
                first()
                self._host.expect_no_more(self._greeting)
            while True:
                exchange = self._frames.next()
                if exchange is None:
                    continue
                exchange = self._last_of_those_here(exchange)
                self._stop_reading()
                if not self._answer(exchange):
                    return
        except (EOFError, OSError):
            pass
        except ConnectionFaultError as fault:
            _LOG.debug("connection_refused", extra={"fields": {"code": fault.code.name, "error": str(fault)}})
            self._sink.control(frames.goaway(self._calls.last_taken, fault.code, str(fault)))
        except Exception:  # noqa: BLE001 # it ends this connection, and no other
            log_defect(_LOG, where="connection")
        self._end()

    def _last_of_those_here(self, exchange: Exchange) -> Exchange:
        """Let others answer while more calls are here already, and keep the last one."""
        try:
            while self._source.has_frame():
                another = self._frames.next()
                if another is not None:
                    self._host.run(functools.partial(self._answer_and_read, exchange))
                    exchange = another
        except BaseException:
            self._calls.abandon(exchange)  # the connection ends, and with it this call
            raise
        return exchange

    def _stop_reading(self) -> None:
        with self._lock:
            self._is_read = False
            self._host.overseer.watch(self._socket)

    def _becomes_reader(self) -> bool:
        with self._lock:
            if self._is_read or self._ended:
                return False
            self._is_read = True
            self._host.overseer.ignore(self._socket)
            return True

    def _something_came(self) -> None:
        """The overseer's word that nobody reads what came."""
        if self._becomes_reader():
            self._host.run(self._read)

    def _end(self) -> None:
        """The last reader's last act; what still runs finds that nobody waits for it."""
        with self._lock:
            if self._ended:  # by a defect in another thread
                return
            self._ended = True
        self.abort()  # whoever is still sending need not wait for the peer
        self._sink.close()
        self._host.overseer.remove(self._socket)
        self._socket.close()
        self._host.expect_no_more(self._greeting)
        self._host.expect_no_more(self._watch)
        self._calls.cancel_all()
        self._host.gone(self)

    # --- answering ----------------------------------------------------------------------------------------------------
    def _answer_and_read(self, exchange: Exchange) -> None:
        try:
            reads = self._answer(exchange)
        except Exception:  # noqa: BLE001 # nobody would answer the call, and perhaps nobody read: it ends this connection
            log_defect(_LOG, where="connection")
            self._end()
            return
        if reads:
            self._read()

    def _answer(self, exchange: Exchange) -> bool:
        """Answer a call, and tell whether this thread is the reader now."""
        try:
            answer = self._host.service.answer(exchange.rpc, exchange.take_message(), exchange)
        except BaseException:
            self._calls.abandon(exchange)
            raise
        self._host.end_call()
        # Before the answer is out, as the next request may follow it at once.
        reads = self._becomes_reader()
        self._calls.finish(exchange, answer)
        self._abort_when_left()
        return reads
