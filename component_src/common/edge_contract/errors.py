# SPDX-License-Identifier: Apache-2.0
"""What a call to the agent can fail with: one class for each status that callers act on."""

from __future__ import annotations

from typing import Any

import grpc


class AgentError(Exception):
    """A call to the agent failed.

    Attributes:
        code: The gRPC status.
        details: The agent's message.
        rpc: The name of the RPC.
    """

    def __init__(self, code: grpc.StatusCode, details: str, *, rpc: str) -> None:
        super().__init__(f"{rpc}: {code.name}: {details}")
        self.code = code
        self.details = details
        self.rpc = rpc


class AgentUnavailableError(AgentError):
    """No agent answers at the socket: it starts, stops, or is gone. Wait until it is ready and load the model again."""


class AgentTimeoutError(AgentError):
    """The agent did not answer in time."""


class AgentNotFoundError(AgentError):
    """The model, package or capture does not exist."""


class AgentAlreadyExistsError(AgentError):
    """The model is loaded already, or the capture id was used already."""


class AgentResourceExhaustedError(AgentError):
    """The agent is full: models, captures, or the size of a message."""


class AgentInvalidArgumentError(AgentError):
    """The request is not well formed; repeating it cannot help."""


_CLASSES: dict[grpc.StatusCode, type[AgentError]] = {
    grpc.StatusCode.UNAVAILABLE: AgentUnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: AgentTimeoutError,
    grpc.StatusCode.NOT_FOUND: AgentNotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: AgentAlreadyExistsError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: AgentResourceExhaustedError,
    grpc.StatusCode.INVALID_ARGUMENT: AgentInvalidArgumentError,
}


def from_rpc_error(error: grpc.RpcError, *, rpc: str) -> AgentError:
    """Turn what grpcio raises into the class of its status."""
    call: Any = error  # every error that grpcio raises from a call is also a grpc.Call, which its types do not say
    code: grpc.StatusCode = call.code()
    return _CLASSES.get(code, AgentError)(code, call.details() or "", rpc=rpc)
