# SPDX-License-Identifier: Apache-2.0
"""The agent's calls from bytes to bytes: all that a transport has to carry. No gRPC here.

A transport finds an RPC by its name, hands over the message and a ``Call``, and sends what the ``Answer`` says. Codes
are gRPC's numbers, which other protocols use as well.
"""

from __future__ import annotations

import dataclasses
import enum
import logging
from typing import TYPE_CHECKING, Any, Callable, Protocol

from google.protobuf import message_factory
from google.protobuf.message import DecodeError

from edge_agent import errors
from edge_agent.log import log_defect
from edge_contract import agent_pb2, wire
from edge_contract.tensors import TensorError

if TYPE_CHECKING:
    from edge_agent.agent import Agent

_LOG = logging.getLogger(__name__)
_DESCRIPTOR = agent_pb2.DESCRIPTOR.services_by_name["Agent"]
#: The service's name in the contract.
NAME: str = _DESCRIPTOR.full_name
_LONGEST_DETAILS = 2000  # bytes: gRPC sends them as a header, each up to three times as long; peers take 8 KiB


class Code(enum.IntEnum):
    """The contract's status codes."""

    OK = 0
    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13


#: The first class that an exception belongs to decides; any other exception is a defect of the agent.
CODES: tuple[tuple[type[Exception], Code], ...] = (
    (errors.InvalidArgumentError, Code.INVALID_ARGUMENT),
    (TensorError, Code.INVALID_ARGUMENT),
    (wire.WireError, Code.INVALID_ARGUMENT),
    (DecodeError, Code.INVALID_ARGUMENT),
    (errors.NotFoundError, Code.NOT_FOUND),
    (errors.AlreadyExistsError, Code.ALREADY_EXISTS),
    (errors.FailedPreconditionError, Code.FAILED_PRECONDITION),
    (errors.ResourceExhaustedError, Code.RESOURCE_EXHAUSTED),
    (MemoryError, Code.RESOURCE_EXHAUSTED),
    (errors.OutOfRangeError, Code.OUT_OF_RANGE),
    (errors.UnsupportedError, Code.UNIMPLEMENTED),
    (errors.DeadlineExceededError, Code.DEADLINE_EXCEEDED),
    (errors.CancelledError, Code.CANCELLED),
)


class Call(Protocol):
    """What the agent may ask about the call that it answers."""

    def remaining(self) -> float | None:
        """Seconds until the caller's deadline; None when it has none."""

    def active(self) -> bool:
        """Whether somebody still waits for the answer."""

    def when_over(self, callback: Callable[[], None]) -> None:
        """Call back once nobody waits any more, at once when that is so already; from any thread."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """How a call ended: with a message, or with a code and what to tell the caller."""

    message: bytes = b""
    code: Code = Code.OK
    details: str = ""


class Service:
    """Answers calls; safe to use from several threads.

    Args:
        agent: What does the work.
    """

    def __init__(self, agent: Agent) -> None:
        methods: dict[str, Callable[[Any], Any]] = {
            "LoadModel": agent.load_model,
            "UnLoadModel": agent.unload_model,
            "ListModels": agent.list_models,
            "DescribeModel": agent.describe_model,
            "CaptureData": agent.capture_data,
            "GetCaptureDataStatus": agent.get_capture_data_status,
        }
        self._handlers: dict[str, Callable[[wire.Buffer, Call], bytes]] = {
            "Predict": lambda message, call: agent.predict(wire.parse_predict_request(message), call)
        }
        for method in _DESCRIPTOR.methods:
            if method.name in methods:
                self._handlers[method.name] = _through_protobuf(methods[method.name], method.input_type)
        #: The names of the RPCs.
        self.rpcs = tuple(self._handlers)

    def answer(self, rpc: str, message: wire.Buffer, call: Call) -> Answer:
        """Answer one call, whatever happens.

        Args:
            rpc: One of ``rpcs``.
            message: The request as it came.
            call: What is known of the caller.
        """
        try:
            return Answer(self._handlers[rpc](message, call))
        except Exception as error:  # noqa: BLE001 # the table decides
            return refusal(error, rpc=rpc)


def refusal(error: Exception, *, rpc: str) -> Answer:
    """Find the code and the message for what a call ended with.

    A refusal's message goes to the caller. Anything else is logged whole, and the caller gets the log's error id.
    """
    for kind, code in CODES:
        if isinstance(error, kind):
            details = str(error) or "out of memory"
            if isinstance(error, (wire.WireError, DecodeError)):
                details = f"the message is no {rpc} request of the contract: {details}"
            _LOG.debug("refused", extra={"fields": {"rpc": rpc, "status": code.name, "details": details}})
            return Answer(
                code=code, details=details.encode(errors="replace")[:_LONGEST_DETAILS].decode(errors="ignore")
            )
    error_id = log_defect(_LOG, where=rpc)
    return Answer(
        code=Code.INTERNAL, details=f"internal error {error_id}; the agent's log has the details under this id"
    )


def _through_protobuf(method: Callable[[Any], Any], input_type: Any) -> Callable[[wire.Buffer, Call], bytes]:
    # It takes whatever has bytes, which its types do not say.
    parse: Callable[[Any], Any] = message_factory.GetMessageClass(input_type).FromString

    def handle(message: wire.Buffer, _: Call) -> bytes:
        response: bytes = method(parse(message)).SerializeToString()
        return response

    return handle
