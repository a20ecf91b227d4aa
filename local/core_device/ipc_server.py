# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from local.core_device.ipc_frames import (
    MAX_FRAME_BYTES,
    PRELUDE_BYTES,
    Frame,
    FrameError,
    HeaderValue,
    decode,
    encode,
    frame_length,
)
from local.core_device.log import event

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_APPLICATION_MESSAGE, _APPLICATION_ERROR, _PING, _PING_RESPONSE, _CONNECT, _CONNECT_ACK = range(6)
_PROTOCOL_ERROR = 6
_CONNECTION_ACCEPTED = 1
_TERMINATE_STREAM = 2
_PREFIX = "aws.greengrass#"
# Of sockaddr_un, macOS's being the shorter one; the last byte ends the string.
_MAX_SOCKET_PATH_BYTES = 103


class IpcError(Exception):
    """An answer that refuses: `code` is a Greengrass error such as UnauthorizedError."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Stream:
    """The server's end of one stream of a connection, on which a subscription's events leave.

    Attributes:
        component: who subscribed.
    """

    def __init__(self, component: str, send: Callable[[Frame], None]) -> None:
        self.component = component
        self._send = send
        self._closers: list[Callable[[], None]] = []

    def send(self, model_type: str, payload: Mapping[str, Any]) -> None:
        """Send an event; one that nucleus lite could not carry is dropped and logged."""
        self._send(_message(_APPLICATION_MESSAGE, model_type, payload, flags=0))

    def on_close(self, closer: Callable[[], None]) -> None:
        """Call this when the client, or its connection, goes."""
        self._closers.append(closer)

    def close(self) -> None:
        """Undo the subscription."""
        for closer in self._closers:
            closer()
        self._closers.clear()


class Service(Protocol):
    """What stands behind the socket."""

    def component_of(self, token: str) -> str | None:
        """Tell whose token this is."""
        ...

    async def call(self, operation: str, request: Mapping[str, Any], stream: Stream) -> tuple[Mapping[str, Any], bool]:
        """Answer a request: the response, and whether the stream stays open for events.

        Raises:
            IpcError: the answer is an error.
        """
        ...


class IpcServer:
    """Greengrass IPC on a unix socket."""

    def __init__(self, directory: Path, service: Service) -> None:
        self._service = service
        self._temporary: Path | None = None
        self.path = directory / "ipc.socket"
        if len(os.fsencode(self.path)) > _MAX_SOCKET_PATH_BYTES:
            self._temporary = Path(tempfile.mkdtemp(prefix="core-device-"))
            self.path = self._temporary / "ipc.socket"
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._accept, self.path)
        self.path.chmod(0o600)

    async def close(self) -> None:
        """Stop listening, drop the connections, remove the socket."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self.path.unlink(missing_ok=True)
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 # asyncio runs this in a task
        self._connections.add(task)
        connection = _Connection(reader, writer, self._service)
        try:
            await connection.serve()
        except FrameError as error:
            event("ipc_connection_dropped", level=logging.WARNING, component=connection.component, reason=str(error))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client, or this device, goes
        finally:
            connection.close()
            writer.close()
            self._connections.discard(task)


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, service: Service) -> None:
        self.component: str | None = None
        self._reader = reader
        self._writer = writer
        self._service = service
        self._streams: dict[int, Stream] = {}

    async def serve(self) -> None:
        if not await self._connect():
            return
        while True:
            frame = await self._receive()
            kind = frame.integer(":message-type")
            if kind == _PING:
                self._write(
                    Frame({":message-type": _PING_RESPONSE, ":message-flags": 0, ":stream-id": 0}, frame.payload)
                )
            elif kind == _APPLICATION_MESSAGE:
                await self._request(frame)
            else:
                raise FrameError(f"unexpected message of type {kind}")
            await self._writer.drain()

    def close(self) -> None:
        for stream in self._streams.values():
            stream.close()
        self._streams.clear()

    async def _connect(self) -> bool:
        frame = await self._receive()
        if frame.integer(":message-type") != _CONNECT:
            raise FrameError("the first message of a connection has to be connect")
        token = frame.json().get("authToken")
        self.component = self._service.component_of(token) if isinstance(token, str) else None
        accepted = self.component is not None
        flags = _CONNECTION_ACCEPTED if accepted else 0
        self._write(Frame({":message-type": _CONNECT_ACK, ":message-flags": flags, ":stream-id": 0}))
        await self._writer.drain()
        if not accepted:
            event("ipc_connection_refused", level=logging.WARNING)
        return accepted

    async def _request(self, frame: Frame) -> None:
        stream_id = frame.integer(":stream-id")
        if frame.integer(":message-flags") & _TERMINATE_STREAM:
            stream = self._streams.pop(stream_id, None)
            if stream is not None:
                stream.close()
            return
        operation = str(frame.headers.get("operation", ""))
        assert self.component is not None  # noqa: S101 # connect came first
        stream = Stream(self.component, lambda message: self._send(message, stream_id))
        self._streams[stream_id] = stream
        open_ = False
        try:
            response, open_ = await self._service.call(operation.removeprefix(_PREFIX), frame.json(), stream)
            flags = 0 if open_ else _TERMINATE_STREAM
            answer = _message(_APPLICATION_MESSAGE, f"{operation.removeprefix(_PREFIX)}Response", response, flags=flags)
            _check_size(answer)
        except IpcError as error:
            open_ = False
            content = {"message": str(error), "_message": str(error), "_errorCode": error.code}
            answer = _message(_APPLICATION_ERROR, error.code, content, flags=_TERMINATE_STREAM)
            event("ipc_refused", component=self.component, operation=operation, code=error.code, reason=str(error))
        self._send(answer, stream_id)
        if not open_:
            self._streams.pop(stream_id).close()

    def _send(self, frame: Frame, stream_id: int) -> None:
        self._write(Frame({**frame.headers, ":stream-id": stream_id}, frame.payload))

    def _write(self, frame: Frame) -> None:
        data = encode(frame)
        if len(data) > MAX_FRAME_BYTES:
            event("ipc_message_dropped", level=logging.WARNING, component=self.component, bytes=len(data))
        elif not self._writer.is_closing():
            self._writer.write(data)

    async def _receive(self) -> Frame:
        prelude = await self._reader.readexactly(PRELUDE_BYTES)
        return decode(prelude + await self._reader.readexactly(frame_length(prelude) - PRELUDE_BYTES))


def _check_size(answer: Frame) -> None:
    if len(encode(answer)) > MAX_FRAME_BYTES - _STREAM_ID_BYTES:
        raise IpcError("ServiceError", f"the answer exceeds the {MAX_FRAME_BYTES} bytes of nucleus lite")


_STREAM_ID_BYTES = len(encode(Frame({":stream-id": 0}))) - len(encode(Frame()))


def _message(kind: int, model_type: str, payload: Mapping[str, Any], *, flags: int) -> Frame:
    headers: dict[str, HeaderValue] = {
        ":message-type": kind,
        ":message-flags": flags,
        ":content-type": "application/json",
        "service-model-type": _PREFIX + model_type,
    }
    return Frame(headers, json.dumps(payload).encode())
