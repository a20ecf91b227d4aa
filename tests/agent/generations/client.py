# SPDX-License-Identifier: Apache-2.0
"""A client of one generation, in a process of its own, which has no other messages than that generation's.

    python -m tests.agent.generations.client <generation> <descriptor of its end of the pipe>

Each thing that comes through the pipe is a socket's path, an RPC and its fields; what goes back is the name of the
status, its details and the answer's fields. It ends with the pipe.
"""

from __future__ import annotations

import sys
from multiprocessing.connection import Connection
from typing import Any, Protocol

import grpc

from tests.agent.generations import by_hand
from tests.agent.generations.contract import GENERATIONS, Generation

_TIMEOUT_SECONDS = 20


class Messages(Protocol):
    def request(self, rpc: str, fields: dict[str, Any]) -> bytes: ...

    def response(self, rpc: str, content: bytes) -> dict[str, Any]: ...


class ByHand:
    """As the stubs, without protobuf."""

    def __init__(self, generation: Generation) -> None:
        self._messages = generation.messages

    def request(self, rpc: str, fields: dict[str, Any]) -> bytes:
        return by_hand.encode(self._messages, f"{rpc}Request", fields)

    def response(self, rpc: str, content: bytes) -> dict[str, Any]:
        return by_hand.decode(self._messages, f"{rpc}Response", content)


def main(name: str, descriptor: str) -> None:
    messages = _messages(GENERATIONS[name])
    pipe: Connection[tuple[Any, ...], tuple[str, str, Any]] = Connection(int(descriptor))
    channels: dict[str, grpc.Channel] = {}
    pipe.send(("", "", _own_modules()))
    while True:
        try:
            socket, rpc, fields = pipe.recv()
        except EOFError:
            return
        if socket not in channels:
            for former in channels.values():
                former.close()
            channels = {socket: grpc.insecure_channel(f"unix://{socket}", [("grpc.enable_http_proxy", 0)])}
        try:
            pipe.send(_call(channels[socket], messages, rpc, fields))
        except Exception as error:  # noqa: BLE001 # whatever it is, the test has to say it
            pipe.send(("no call", repr(error), None))


def _messages(generation: Generation) -> Messages:
    if generation.by_hand:
        return ByHand(generation)
    from tests.agent.generations.stubs import Stubs  # noqa: PLC0415 # by hand means without protobuf

    return Stubs(generation)


def _own_modules() -> list[str]:
    """Which of protobuf and our own packages this process has."""
    return sorted({name for name in sys.modules if name.startswith(("google.protobuf.descriptor_pool", "edge_"))})


def _call(channel: grpc.Channel, messages: Messages, rpc: str, fields: dict[str, Any]) -> tuple[str, str, Any]:
    method: Any = channel.unary_unary(
        f"/AWS.SageMaker.Edge.Agent/{rpc}",
        request_serializer=lambda given: messages.request(rpc, given),
        response_deserializer=lambda content: messages.response(rpc, content),
    )
    try:
        return "OK", "", method(fields, timeout=_TIMEOUT_SECONDS)
    except grpc.RpcError as error:
        failed: Any = error
        return failed.code().name, failed.details(), None


if __name__ == "__main__":
    main(*sys.argv[1:])
