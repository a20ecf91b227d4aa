# SPDX-License-Identifier: Apache-2.0
"""A server on its socket, and clients of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from edge_agent.http2.server import Http2Server
from tests.agent.http2.peers import MOST_BYTES, MOST_CALLS, Echo, Raw


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def path(echo: Echo, tmp_path: Path, eventually: Callable[..., None]) -> Iterator[Path]:
    path = tmp_path / "s"
    made = Http2Server(echo, most_bytes=MOST_BYTES, most_calls=MOST_CALLS)  # type: ignore[arg-type] # as much as it uses
    made.listen(path)
    made.start()
    yield path
    echo.go.set()
    assert made.stop(2.0).wait(10)
    assert made._running == 0
    # Whose caller is gone may be a moment from its end.
    eventually(lambda: made._requests.left == made.answers.left == 4 * MOST_BYTES)
    assert not made._connections


@pytest.fixture
def stock(path: Path) -> Iterator[Callable[..., Any]]:
    """Calls through grpcio, all over one connection; gives a future."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"unix://{path}", options) as channel:

        def call(message: bytes, *, rpc: str = "Predict", seconds: float | None = 20.0, **more: Any) -> Any:
            method: Any = channel.unary_unary(f"/AWS.SageMaker.Edge.Agent/{rpc}")
            return method.future(message, timeout=seconds, **more)

        yield call


@pytest.fixture
def raw(path: Path) -> Iterator[Raw]:
    made = Raw(path)
    yield made
    made.socket.close()
