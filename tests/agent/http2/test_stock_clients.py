# SPDX-License-Identifier: Apache-2.0
"""The server as grpcio's own client finds it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from edge_agent.http2 import connection
from tests.agent.http2.peers import MOST_BYTES, MOST_CALLS, Echo, Raw


@pytest.mark.parametrize("size", [0, 1, 16_379, 16_380, 65_531, 65_536, 400_000, MOST_BYTES])
def test_messages_of_any_size_go_both_ways(stock: Callable[..., Any], size: int) -> None:
    message = bytes(range(256)) * (size // 256) + bytes(size % 256)
    for _ in range(3):
        assert stock(message).result() == message


def test_refusals_come_with_their_words(stock: Callable[..., Any]) -> None:
    call = stock(b"refuse now")
    assert (call.code(), call.details()) == (grpc.StatusCode.NOT_FOUND, "100 % \n né  now")


def test_one_after_the_other_is_answered_by_the_thread_that_reads(stock: Callable[..., Any], echo: Echo) -> None:
    for _ in range(50):
        stock(b"x").result()
    assert len(echo.threads) <= 2  # the first ones may find the client still talking


def test_calls_on_one_connection_do_not_wait_for_one_another(stock: Callable[..., Any], echo: Echo) -> None:
    long = stock(b"wait")
    assert echo.waiting.acquire(timeout=10)
    for _ in range(20):
        assert stock(b"short", rpc="ListModels").result() == b"short"
    assert not long.done()
    echo.go.set()
    assert long.result() == b"wait"
    assert stock(b"after").result() == b"after"


def test_beyond_the_bound_calls_are_refused_at_once(stock: Callable[..., Any], echo: Echo) -> None:
    calls = [stock(b"wait") for _ in range(MOST_CALLS)]
    for _ in calls:
        assert echo.waiting.acquire(timeout=10)
    refused = [stock(b"x") for _ in range(30)]
    assert {call.code() for call in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    echo.go.set()
    assert [call.result() for call in calls] == [b"wait"] * MOST_CALLS
    assert stock(b"x").result() == b"x"


def test_a_deadline_ends_a_running_call(stock: Callable[..., Any], echo: Echo, eventually: Any) -> None:
    assert stock(b"wait", seconds=0.2).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    eventually(lambda: echo.over == ["Predict"])


@pytest.mark.parametrize("timeout", [b"2777H", b"99999999H"])  # 116 days, 11 000 years
def test_a_deadline_of_another_age_stops_nobody(
    path: Path, echo: Echo, monkeypatch: pytest.MonkeyPatch, timeout: bytes
) -> None:
    monkeypatch.setattr(connection, "_GREETING_SECONDS", 0.2)
    raw = Raw(path)
    raw.send(raw.request(1, b"wait", (b"grpc-timeout", timeout)))
    assert echo.waiting.acquire(timeout=10)
    time.sleep(0.5)  # no earlier deadline is left
    with contextlib.closing(Raw(path).socket) as other:  # only the overseer lets new clients in
        assert other.recv(1)
    echo.go.set()
    assert raw.answer(1)[1] == b"wait"
    raw.socket.close()


def test_a_cancelled_call_is_over(stock: Callable[..., Any], echo: Echo, eventually: Any) -> None:
    call = stock(b"wait", seconds=None)
    assert echo.waiting.acquire(timeout=10)
    call.cancel()
    eventually(lambda: echo.over == ["Predict"])
    assert stock(b"x").result() == b"x"


def test_compression_is_refused_and_the_ways_named(stock: Callable[..., Any]) -> None:
    call = stock(b"x" * 10_000, compression=grpc.Compression.Gzip)
    assert call.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "compressed" in call.details()
    assert stock(b"x").result() == b"x"


def test_metadata_of_any_kind_is_tolerated(stock: Callable[..., Any]) -> None:
    metadata = (("trace-bin", bytes(range(256))), ("x", "y" * 2000))
    assert stock(b"x", metadata=metadata).result() == b"x"


def test_too_long_is_refused_in_both_directions(stock: Callable[..., Any]) -> None:
    for message in (bytes(MOST_BYTES + 1), b"large%d" % (MOST_BYTES + 1)):
        call = stock(message)
        assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "MaxMessageBytes" in call.details()
    assert stock(b"x").result() == b"x"


def test_an_unknown_call_is_unimplemented_whatever_it_carries(stock: Callable[..., Any]) -> None:
    assert stock(bytes(500_000), rpc="Ping").code() is grpc.StatusCode.UNIMPLEMENTED


def test_many_threads_on_one_channel_get_their_own_answers(stock: Callable[..., Any]) -> None:
    wrong = []

    def work(number: int) -> None:
        for turn in range(100):
            message = b"%d-%d " % (number, turn) * (1 + turn * 37 % 400)
            try:
                if stock(message).result() != message:
                    wrong.append(message)
            except grpc.RpcError as error:
                wrong.append(str(error).encode())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(MOST_CALLS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
