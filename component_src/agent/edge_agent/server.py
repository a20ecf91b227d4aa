# SPDX-License-Identifier: Apache-2.0
"""The transport: grpcio around the service."""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING, Any, Callable

import grpc

from edge_agent import service

if TYPE_CHECKING:
    from edge_agent.service import Service

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_CONTROL_WORKERS = 8  # calls that do not predict; captures wait for the disk


class _Call:
    """A caller behind grpcio; see ``service.Call``."""

    def __init__(self, context: grpc.ServicerContext) -> None:
        self._context = context
        self.remaining: Callable[[], float | None] = context.time_remaining
        self.active: Callable[[], bool] = context.is_active

    def when_over(self, callback: Callable[[], None]) -> None:
        """See ``service.Call``."""
        if not self._context.add_callback(callback):
            callback()


def make_server(answering: Service, *, max_message_bytes: int, max_predictions: int) -> grpc.Server:
    """Make a server without a port.

    Args:
        answering: What answers.
        max_message_bytes: Longest message in either direction.
        max_predictions: How many predictions may run or wait. So many threads stand ready on top of those that keep
            other calls answered; a call beyond them all is refused with RESOURCE_EXHAUSTED, it never waits.
    """
    workers = max_predictions + _CONTROL_WORKERS
    server = grpc.server(
        concurrent.futures.ThreadPoolExecutor(workers, thread_name_prefix="rpc"),
        options=(
            ("grpc.max_send_message_length", max_message_bytes),
            ("grpc.max_receive_message_length", max_message_bytes),
        ),
        maximum_concurrent_rpcs=workers,
    )
    # Without (de)serialisers grpcio hands over and takes the messages' bytes.
    handlers: dict[str, Any] = {
        rpc: grpc.unary_unary_rpc_method_handler(_handler(rpc, answering)) for rpc in answering.rpcs
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.NAME, handlers),))
    return server


def _handler(rpc: str, answering: Service) -> Callable[[bytes, grpc.ServicerContext], bytes]:
    def handle(message: bytes, context: grpc.ServicerContext) -> bytes:
        answer = answering.answer(rpc, message, _Call(context))
        if answer.code:
            context.abort(_CODES[answer.code], answer.details)
        return answer.message

    return handle
