# SPDX-License-Identifier: Apache-2.0
"""gRPC around the agent: the service's methods, and the one table from exceptions to statuses."""

from __future__ import annotations

import concurrent.futures
import logging
from typing import TYPE_CHECKING, Any, Callable

import grpc
from google.protobuf import message_factory

from edge_agent import errors
from edge_agent.log import log_defect
from edge_contract import agent_pb2
from edge_contract.tensors import TensorError

if TYPE_CHECKING:
    from edge_agent.agent import Agent

_LOG = logging.getLogger(__name__)

#: The first class that an exception belongs to decides; any other exception is a defect of the agent.
STATUSES: tuple[tuple[type[Exception], grpc.StatusCode], ...] = (
    (errors.InvalidArgumentError, grpc.StatusCode.INVALID_ARGUMENT),
    (TensorError, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.NotFoundError, grpc.StatusCode.NOT_FOUND),
    (errors.AlreadyExistsError, grpc.StatusCode.ALREADY_EXISTS),
    (errors.FailedPreconditionError, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.ResourceExhaustedError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (MemoryError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.OutOfRangeError, grpc.StatusCode.OUT_OF_RANGE),
    (errors.UnsupportedError, grpc.StatusCode.UNIMPLEMENTED),
)
_LONGEST_DETAILS = 2000  # bytes: gRPC sends them as a header, each up to three times as long; peers take 8 KiB
_CONTROL_WORKERS = 4


def make_server(agent: Agent, *, max_message_bytes: int, max_concurrent_predictions: int) -> grpc.Server:
    """Make a server without a port.

    Args:
        agent: What answers.
        max_message_bytes: Longest message in either direction.
        max_concurrent_predictions: So many threads on top of those that keep other calls answered.
    """
    methods: dict[str, Callable[[Any], Any]] = {
        "Predict": agent.predict,
        "LoadModel": agent.load_model,
        "UnLoadModel": agent.unload_model,
        "ListModels": agent.list_models,
        "DescribeModel": agent.describe_model,
        "CaptureData": agent.capture_data,
        "GetCaptureDataStatus": agent.get_capture_data_status,
    }
    service = agent_pb2.DESCRIPTOR.services_by_name["Agent"]
    handlers = {
        method.name: grpc.unary_unary_rpc_method_handler(
            _handler(method.name, methods[method.name]),
            request_deserializer=message_factory.GetMessageClass(method.input_type).FromString,
            response_serializer=message_factory.GetMessageClass(method.output_type).SerializeToString,
        )
        for method in service.methods
    }
    workers = max_concurrent_predictions + _CONTROL_WORKERS
    server = grpc.server(
        concurrent.futures.ThreadPoolExecutor(workers, thread_name_prefix="rpc"),
        options=(
            ("grpc.max_send_message_length", max_message_bytes),
            ("grpc.max_receive_message_length", max_message_bytes),
        ),
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))
    return server


def status_of(error: Exception, *, rpc: str) -> tuple[grpc.StatusCode, str]:
    """Find the status and the message for what a call ended with.

    A refusal's message goes to the caller. Anything else is logged whole, and the caller gets the log's error id.
    """
    for kind, code in STATUSES:
        if isinstance(error, kind):
            details = str(error) or "out of memory"
            _LOG.debug("refused", extra={"fields": {"rpc": rpc, "status": code.name, "details": details}})
            return code, details.encode(errors="replace")[:_LONGEST_DETAILS].decode(errors="ignore")
    error_id = log_defect(_LOG, where=rpc)
    return grpc.StatusCode.INTERNAL, f"internal error {error_id}; the agent's log has the details under this id"


def _handler(rpc: str, method: Callable[[Any], Any]) -> Callable[[Any, grpc.ServicerContext], Any]:
    def handle(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(request)
        except Exception as error:  # noqa: BLE001 # the table decides
            code, details = status_of(error, rpc=rpc)
        return context.abort(code, details)

    return handle
