# SPDX-License-Identifier: Apache-2.0
"""The agent's client: what every inference component talks through."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import math
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, TypeVar

import grpc
import numpy as np

from edge_contract import agent_pb2, agent_pb2_grpc, sysv, tensors, wire
from edge_contract.errors import (
    AgentAlreadyExistsError,
    AgentError,
    AgentNotFoundError,
    AgentUnavailableError,
    from_rpc_error,
)
from edge_contract.limits import MAX_MESSAGE_BYTES, MAX_SOCKET_PATH_BYTES
from edge_contract.shared_tensors import THRESHOLD_BYTES, SharedTensorRing

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType

_POLL_SECONDS = 0.05
_T = TypeVar("_T")
_PREDICT = f"/{agent_pb2.DESCRIPTOR.services_by_name['Agent'].full_name}/Predict"
#: How an agent answers that cannot read our shared memory: it knows none, runs as another user, or in a container.
_NO_SHARED_MEMORY = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)


@dataclasses.dataclass(frozen=True)
class Model:
    """A loaded model as the agent describes it; in a shape, -1 stands for any length."""

    name: str
    url: str
    inputs: tuple[tensors.TensorSpec, ...]
    outputs: tuple[tensors.TensorSpec, ...]


@dataclasses.dataclass(frozen=True)
class Auxiliary:
    """Data of a capture that is no tensor.

    Attributes:
        name: The content type that the record shows, such as ``jpg`` or ``json``.
        data: The bytes.
        encoding: How the bytes are encoded.
    """

    name: str
    data: bytes
    encoding: agent_pb2.Encoding = agent_pb2.NONE


class CaptureStatus(enum.Enum):
    """How far a capture has come."""

    FAILURE = 0
    SUCCESS = 1
    IN_PROGRESS = 2


class AgentClient:
    """Calls the agent at a unix socket; usable from several threads, and across restarts of the agent.

    Args:
        socket_path: The agent's ``UnixSocketName``; it need not exist yet.
        timeout: Seconds that a call may take where the method does not say otherwise.
        max_message_bytes: Longest message in either direction.
        shared_memory: Whether large inputs of predictions go through shared memory where the agent can read it.

    Raises:
        ValueError: The path is longer than a unix socket's may be.

    Every method that calls the agent raises a subclass of ``AgentError`` named after the status.
    """

    def __init__(
        self,
        socket_path: str | os.PathLike[str],
        *,
        timeout: float = 10.0,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        shared_memory: bool = True,
    ) -> None:
        self.socket_path = Path(socket_path).absolute()
        length = len(os.fsencode(self.socket_path))
        if length > MAX_SOCKET_PATH_BYTES:
            raise ValueError(
                f"socket path {self.socket_path}: expected at most {MAX_SOCKET_PATH_BYTES} bytes, got {length}"
            )
        self._timeout = timeout
        self._channel = grpc.insecure_channel(
            f"unix://{self.socket_path}",
            options=(
                ("grpc.enable_http_proxy", 0),
                ("grpc.max_send_message_length", max_message_bytes),
                ("grpc.max_receive_message_length", max_message_bytes),
                # The default grows to two minutes, in which a restarted agent would wait for its clients.
                ("grpc.initial_reconnect_backoff_ms", 100),
                # Despite its name it also bounds how long a connection may take: where nobody listens, no time at all,
                # but an agent on a busy device must be given some.
                ("grpc.min_reconnect_backoff_ms", 5000),
                ("grpc.max_reconnect_backoff_ms", 1000),
            ),
        )
        self._stub = agent_pb2_grpc.AgentStub(self._channel)  # type: ignore[no-untyped-call] # generated without types
        self._predict: Callable[..., bytes] = self._channel.unary_unary(
            _PREDICT
        )  # its messages are written by ``wire``
        self._ring = SharedTensorRing() if shared_memory and sysv.available() else None

    def __enter__(self) -> AgentClient:  # noqa: PYI034 # Self is not in the devices' oldest Python
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; calls that run are cancelled. May be called again."""
        self._channel.close()
        ring, self._ring = self._ring, None
        if ring is not None:
            ring.close()

    def wait_until_ready(self, seconds: float) -> None:
        """Wait until an agent answers at the socket.

        Args:
            seconds: How long to wait.

        Raises:
            AgentUnavailableError: Nobody answered in that time; the message says whether the socket exists.
        """
        deadline = time.monotonic() + seconds
        while not self.socket_path.exists():
            if time.monotonic() >= deadline:
                raise self._not_ready(f"{self.socket_path} does not exist", seconds)
            time.sleep(_POLL_SECONDS)
        ready = grpc.channel_ready_future(self._channel)
        try:
            ready.result(timeout=max(deadline - time.monotonic(), _POLL_SECONDS))
        except grpc.FutureTimeoutError:
            raise self._not_ready(f"{self.socket_path} exists but nobody accepts a connection", seconds) from None
        finally:
            ready.cancel()

    @staticmethod
    def _not_ready(finding: str, seconds: float) -> AgentUnavailableError:
        return AgentUnavailableError(
            grpc.StatusCode.UNAVAILABLE,
            f"expected the agent at its socket within {seconds:g} s, but {finding}; "
            "is the agent running, and is UnixSocketName the same on both sides?",
            rpc="wait_until_ready",
        )

    def load_model(self, url: str, name: str, *, timeout: float = 120.0) -> Model:
        """Load the package in a directory.

        Args:
            url: Absolute, ``file://``, or relative to the agent's working directory.
            name: The handle that other calls will use.
            timeout: Seconds; large models take long.
        """
        request = agent_pb2.LoadModelRequest(url=url, name=name, handle=name)
        return _model(self._call("LoadModel", request, timeout).model)

    def ensure_loaded(self, url: str, name: str, *, timeout: float = 120.0) -> Model:
        """Load a model unless one is loaded under this name already, and describe it."""
        try:
            return self.load_model(url, name, timeout=timeout)
        except AgentAlreadyExistsError:
            return self.describe_model(name)

    def unload_model(self, name: str) -> None:
        """Unload a model."""
        self._call("UnLoadModel", agent_pb2.UnLoadModelRequest(name=name, handle=name))

    def list_models(self) -> list[Model]:
        """List the loaded models."""
        return [_model(model) for model in self._call("ListModels", agent_pb2.ListModelsRequest()).models]

    def describe_model(self, name: str) -> Model:
        """Describe a loaded model."""
        request = agent_pb2.DescribeModelRequest(name=name, handle=name)
        return _model(self._call("DescribeModel", request).model)

    def predict(
        self, name: str, inputs: Mapping[str, np.ndarray[Any, Any]], timeout: float | None = None
    ) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
        """Run one inference.

        Args:
            name: The model's handle.
            inputs: An array for each input of the model.
            timeout: Seconds; the client's timeout when absent.

        Returns:
            A read-only array for each output, in the model's order.

        Raises:
            TensorError: An array has a type that the contract does not know.
        """
        seconds = self._timeout if timeout is None else timeout
        return self._sharing(inputs.values(), lambda ring: self._predict_with(name, inputs, seconds, ring))

    def _sharing(self, arrays: Iterable[np.ndarray[Any, Any]], call: Callable[[SharedTensorRing | None], _T]) -> _T:
        """Call with shared memory when a large array is worth it, and without when this agent cannot read it."""
        ring = self._ring
        if ring is None or all(array.nbytes < THRESHOLD_BYTES for array in arrays):
            return call(None)
        try:
            return call(ring)
        except AgentError as error:
            if error.code not in _NO_SHARED_MEMORY:
                raise
        answer = call(None)
        self._ring = None  # the request was right: it is the shared memory that this agent cannot read
        ring.close()
        return answer

    def _predict_with(
        self,
        name: str,
        inputs: Mapping[str, np.ndarray[Any, Any]],
        seconds: float,
        ring: SharedTensorRing | None,
    ) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
        with contextlib.ExitStack() as borrowed:
            placed = [_place(input_name, array, ring, borrowed) for input_name, array in inputs.items()]
            try:
                answer = self._predict(wire.predict_request(name, placed), timeout=seconds)
            except grpc.RpcError as error:
                raise from_rpc_error(error, rpc="Predict") from error
        return dict(map(tensors.from_wire, wire.parse_predict_response(answer)))

    def capture_data(
        self,
        model: str,
        capture_id: str,
        inputs: Mapping[str, np.ndarray[Any, Any]],
        outputs: Mapping[str, np.ndarray[Any, Any]],
        *,
        inference_timestamp: dt.datetime | None = None,
        auxiliary_inputs: Sequence[Auxiliary] = (),
        auxiliary_outputs: Sequence[Auxiliary] = (),
    ) -> None:
        """Keep the data of an inference; when this returns, a crash of the agent cannot lose it.

        Args:
            model: The model's handle.
            capture_id: Unique; a UUID will do.
            inputs: Arrays by tensor name.
            outputs: Arrays by tensor name.
            inference_timestamp: With a time zone; the time of receipt when absent.
            auxiliary_inputs: What else went in.
            auxiliary_outputs: What else came out.

        Raises:
            TensorError: An array has a type that the contract does not know.
            ValueError: The timestamp has no time zone.
        """
        request = agent_pb2.CaptureDataRequest(
            model_name=model,
            model_handle=model,
            capture_id=capture_id,
            inputs=[_auxiliary(item) for item in auxiliary_inputs],
            outputs=[_auxiliary(item) for item in auxiliary_outputs],
        )
        if inference_timestamp is not None:
            request.inference_timestamp.CopyFrom(_timestamp(inference_timestamp))

        def capture(ring: SharedTensorRing | None) -> None:
            with contextlib.ExitStack() as borrowed:
                for field, arrays in (("input_tensors", inputs), ("output_tensors", outputs)):
                    request.ClearField(field)
                    for name, array in arrays.items():
                        getattr(request, field).append(wire.to_message(_place(name, array, ring, borrowed)))
                self._call("CaptureData", request)

        self._sharing([*inputs.values(), *outputs.values()], capture)

    def capture_status(self, capture_id: str) -> CaptureStatus:
        """Ask how far a capture has come."""
        request = agent_pb2.GetCaptureDataStatusRequest(capture_id=capture_id)
        return CaptureStatus(self._call("GetCaptureDataStatus", request).status)

    def _call(self, rpc: str, request: object, timeout: float | None = None) -> Any:
        method: Callable[..., Any] = getattr(self._stub, rpc)
        try:
            return method(request, timeout=self._timeout if timeout is None else timeout)
        except grpc.RpcError as error:
            raise from_rpc_error(error, rpc=rpc) from error


def _place(
    name: str, array: np.ndarray[Any, Any], ring: SharedTensorRing | None, borrowed: contextlib.ExitStack
) -> wire.Tensor:
    """Put a large tensor into shared memory for as long as ``borrowed`` lasts, a small one into the message."""
    if ring is None or array.nbytes < THRESHOLD_BYTES:
        return tensors.to_wire(name, array)
    data_type = tensors.check_array(name, array)
    segment = borrowed.enter_context(ring.borrow(array.nbytes))
    if segment is None:
        return tensors.to_wire(name, array)
    np.copyto(segment.array(array.shape, tensors.DTYPES[data_type]), array)
    place = segment.place(array.nbytes)
    return wire.Tensor(name.encode(), data_type, array.shape, described=True, shared_memory=place)


def _model(model: agent_pb2.Model) -> Model:
    return Model(
        name=model.handle or model.name,
        url=model.url,
        inputs=tuple(map(tensors.from_metadata, model.input_tensor_metadatas)),
        outputs=tuple(map(tensors.from_metadata, model.output_tensor_metadatas)),
    )


def _auxiliary(item: Auxiliary) -> agent_pb2.AuxiliaryData:
    return agent_pb2.AuxiliaryData(name=item.name, encoding=item.encoding, byte_data=item.data)


def _timestamp(moment: dt.datetime) -> agent_pb2.Timestamp:
    if moment.tzinfo is None:
        raise ValueError(f"inference timestamp {moment}: expected a time zone, got none")
    seconds = math.floor(moment.timestamp())
    return agent_pb2.Timestamp(seconds=seconds, nanos=moment.microsecond * 1000)


__all__ = [
    "MAX_MESSAGE_BYTES",
    "MAX_SOCKET_PATH_BYTES",
    "AgentClient",
    "AgentError",
    "AgentNotFoundError",
    "AgentUnavailableError",
    "Auxiliary",
    "CaptureStatus",
    "Model",
]
