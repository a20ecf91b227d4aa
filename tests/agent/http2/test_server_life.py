# SPDX-License-Identifier: Apache-2.0
"""Many clients at one server, and its end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_agent.http2 import frames, server
from edge_agent.http2.frames import ErrorCode
from edge_agent.http2.server import Http2Server
from edge_agent.service import Code
from tests.agent.http2.peers import DESCRIPTORS, MOST_BYTES, MOST_CALLS, Echo, Raw


class TestManyClients:
    def test_answers_that_nobody_takes_have_one_bound_for_all(
        self, path: Path, stock: Callable[..., Any], eventually: Callable[..., None]
    ) -> None:
        large = b"large%d" % (MOST_BYTES - 1000)  # more than the windows of those who never widen them
        clients = [Raw(path) for _ in range(5)]
        for client in clients[:4]:
            client.send(client.request(1, large))
            assert any(head.kind == frames.HEADERS for head, _ in client.frames())  # the answer has begun
        clients[4].send(clients[4].request(1, large))
        fields = clients[4].answer(1)[0]
        assert int(fields[b"grpc-status"]) == Code.RESOURCE_EXHAUSTED
        assert b"no room" in fields[b"grpc-message"]
        assert stock(b"x").result() == b"x"
        clients[4].send(clients[4].request(3, b"x"))
        assert clients[4].answer(3)[1] == b"x"
        for client in clients:
            client.socket.close()
        eventually(lambda: stock(large).exception() is None)

    def test_the_one_idle_longest_makes_room(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server, "_MOST_CONNECTIONS", 3)
        clients = []
        for number in range(5):
            clients.append(client := Raw(path))
            client.send(client.request(1, b"%d" % number))
            assert client.answer(1)[1] == b"%d" % number
        assert clients[0].ending() is ErrorCode.NO_ERROR
        assert clients[1].ending() is ErrorCode.NO_ERROR
        for client in clients[2:]:
            client.send(client.request(3, b"x"))
            assert client.answer(3)[1] == b"x"
        for client in clients:
            client.socket.close()

    def test_when_all_are_busy_a_new_one_is_refused(
        self, path: Path, echo: Echo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(server, "_MOST_CONNECTIONS", 1)
        busy = Raw(path)
        busy.send(busy.request(1, b"wait"))
        assert echo.waiting.acquire(timeout=10)
        refused = Raw(path, greet=False)
        assert refused.ending() is None
        echo.go.set()
        assert busy.answer(1)[1] == b"wait"
        for client in (busy, refused):
            client.socket.close()

    def test_threads_and_descriptors_go_with_their_clients(self, path: Path, eventually: Callable[..., None]) -> None:
        def count() -> int:
            return len(list(DESCRIPTORS.iterdir()))

        before = count()
        for _ in range(200):
            client = Raw(path)
            client.send(client.request(1, b"x"))
            assert client.answer(1)[1] == b"x"
            client.socket.close()
        eventually(lambda: count() <= before)


class TestEnd:
    def test_what_runs_is_answered_and_new_calls_are_not_taken(self, echo: Echo, tmp_path: Path) -> None:
        made = Http2Server(echo, most_bytes=MOST_BYTES, most_calls=MOST_CALLS)  # type: ignore[arg-type] # as much as it uses
        made.listen(tmp_path / "s")
        made.start()
        raw, idle = Raw(tmp_path / "s"), Raw(tmp_path / "s")
        idle.send(idle.request(1, b"x"))
        assert idle.answer(1)[1] == b"x"
        raw.send(raw.request(1, b"wait"))
        assert echo.waiting.acquire(timeout=10)
        done = made.stop(20.0)
        last = next(payload[:4] for head, payload in raw.frames() if head.kind == frames.GOAWAY)
        assert last == b"\0\0\0\1"
        assert idle.ending() is ErrorCode.NO_ERROR
        assert not done.is_set()
        raw.send(raw.request(3, b"late"))
        echo.go.set()
        assert raw.answer(1)[1] == b"wait"
        assert done.wait(10)
        assert raw.ending() is None
        for client in (raw, idle):
            client.socket.close()

    def test_what_takes_longer_than_the_grace_is_ended(
        self, echo: Echo, tmp_path: Path, eventually: Callable[..., None]
    ) -> None:
        made = Http2Server(echo, most_bytes=MOST_BYTES, most_calls=MOST_CALLS)  # type: ignore[arg-type] # as much as it uses
        made.listen(tmp_path / "s")
        made.start()
        raw = Raw(tmp_path / "s")
        raw.send(raw.request(1, b"wait"))
        assert echo.waiting.acquire(timeout=10)
        assert made.stop(0.1).wait(10)
        eventually(lambda: echo.over == ["Predict"])
        assert raw.ending() is ErrorCode.NO_ERROR
        raw.socket.close()
