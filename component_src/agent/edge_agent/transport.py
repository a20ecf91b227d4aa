# SPDX-License-Identifier: Apache-2.0
"""What carries calls to the service: one interface, two servers; which one is the parameter ``Transport``."""

from __future__ import annotations

import select
import threading
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.service import Service

#: The parameter's values.
HTTP2, GRPCIO = "Http2", "Grpcio"
_CONTROL_CALLS = 8  # calls that do not predict; captures wait for the disk


class Transport(Protocol):
    """A gRPC server on a unix socket."""

    def listen(self, path: Path) -> None:
        """Make the socket, at a path that is free, with the permissions that the process's umask leaves.

        Raises:
            OSError: It cannot be made.
        """

    def start(self) -> None:
        """Answer."""

    def stop(self, seconds: float) -> threading.Event:
        """Take no more calls, and end those that take longer; the event is set when that is done."""


def make(kind: str, answering: Service, *, max_message_bytes: int, max_predictions: int) -> Transport:
    """Make a server that does not listen yet.

    Args:
        kind: One of the parameter's values.
        answering: What answers.
        max_message_bytes: Longest message in either direction.
        max_predictions: How many predictions may run or wait. Some other calls may run beside them; a call beyond them
            all is refused with RESOURCE_EXHAUSTED, it never waits.
    """
    most_calls = max_predictions + _CONTROL_CALLS
    # Devices are Linux; on a developer's machine without epoll, grpcio serves.
    if kind == GRPCIO or not hasattr(select, "epoll"):
        from edge_agent.grpcio_server import GrpcioServer  # noqa: PLC0415 # 20 MB that the other one does not need

        return GrpcioServer(answering, most_bytes=max_message_bytes, most_calls=most_calls)
    from edge_agent.http2.server import Http2Server  # noqa: PLC0415 # as above

    return Http2Server(answering, most_bytes=max_message_bytes, most_calls=most_calls)
