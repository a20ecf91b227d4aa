# SPDX-License-Identifier: Apache-2.0
"""The transport that is grpcio."""

from __future__ import annotations

import concurrent.futures
import threading
from typing import TYPE_CHECKING, Any, Callable

import grpc

from edge_agent import service

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.service import Service

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class _Call:
    """A caller behind grpcio; see ``service.Call``."""

    def __init__(self, context: grpc.ServicerContext) -> None:
        self._context = context
        self.active: Callable[[], bool] = context.is_active

    def remaining(self) -> float | None:
        """See ``service.Call``."""
        seconds: float | None = self._context.time_remaining()
        # Where there is no deadline grpcio says how long it is until the last second that it can count.
        return None if seconds is None or seconds > threading.TIMEOUT_MAX else seconds

    def when_over(self, callback: Callable[[], None]) -> None:
        """See ``service.Call``."""
        if not self._context.add_callback(callback):
            callback()


class GrpcioServer:
    """See ``transport.Transport``.

    Args:
        answering: What answers.
        most_bytes: Longest message in either direction.
        most_calls: How many calls may run or wait at the same time; so many threads stand ready.
    """

    def __init__(self, answering: Service, *, most_bytes: int, most_calls: int) -> None:
        self._server = grpc.server(
            concurrent.futures.ThreadPoolExecutor(most_calls, thread_name_prefix="rpc"),
            options=(
                ("grpc.max_send_message_length", most_bytes),
                ("grpc.max_receive_message_length", most_bytes),
            ),
            maximum_concurrent_rpcs=most_calls,
        )
        # Without (de)serialisers grpcio hands over and takes the messages' bytes.
        handlers: dict[str, Any] = {
            rpc: grpc.unary_unary_rpc_method_handler(_handler(rpc, answering)) for rpc in answering.rpcs
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.NAME, handlers),))

    def listen(self, path: Path) -> None:
        """See ``transport.Transport``."""
        try:
            self._server.add_insecure_port(f"unix://{path}")
        except RuntimeError as error:
            raise OSError(str(error)) from error

    def start(self) -> None:
        """See ``transport.Transport``."""
        self._server.start()

    def stop(self, seconds: float) -> threading.Event:
        """See ``transport.Transport``."""
        return self._server.stop(grace=seconds)


def _handler(rpc: str, answering: Service) -> Callable[[bytes, grpc.ServicerContext], bytes]:
    def handle(message: bytes, context: grpc.ServicerContext) -> bytes:
        answer = answering.answer(rpc, message, _Call(context))
        if answer.code:
            context.abort(_CODES[answer.code], answer.details)
        return answer.message

    return handle
