# SPDX-License-Identifier: Apache-2.0
"""The agent's seven calls, each from its request to its response. No gRPC here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_agent import inputs, requests
from edge_agent.captures.history import Status
from edge_agent.errors import (
    FailedPreconditionError,
    NotFoundError,
    ResourceExhaustedError,
    UnreadablePackageError,
    UntrustedPackageError,
)
from edge_contract import agent_pb2, tensors, wire

if TYPE_CHECKING:
    from edge_agent.admission import Admission
    from edge_agent.captures.intake import Captures
    from edge_agent.metrics import Metrics
    from edge_agent.models import LoadedModel, ModelRegistry
    from edge_agent.service import Call
    from edge_agent.shared_memory import Segments

_STATUSES = {
    Status.IN_PROGRESS: agent_pb2.IN_PROGRESS,
    Status.SUCCESS: agent_pb2.SUCCESS,
    Status.FAILURE: agent_pb2.FAILURE,
}
# What a refused load counts as; other refusals are mistakes of the caller's. The first that fits.
_LOAD_FAILURES = (
    (UntrustedPackageError, "load_failures_integrity"),
    (ResourceExhaustedError, "load_failures_memory"),
    (NotFoundError, "load_failures_missing"),
    (UnreadablePackageError, "load_failures_missing"),
    (FailedPreconditionError, "load_failures_format"),
)


class Agent:
    """Answers requests; safe to use from several threads. Refusals are raised as in ``edge_agent.errors``.

    Args:
        models: The loaded models.
        captures: Where captures go.
        admission: Which predictions may run now.
        segments: Where shared memory is attached.
        metrics: What is counted.
    """

    def __init__(
        self, *, models: ModelRegistry, captures: Captures, admission: Admission, segments: Segments, metrics: Metrics
    ) -> None:
        self._models = models
        self._captures = captures
        self._metrics = metrics
        self._admission = admission
        self._segments = segments

    def predict(self, request: wire.PredictRequest, call: Call) -> bytes:
        """Run one inference; the answer is a serialised PredictResponse."""
        model = self._models.get(request.handle or request.name)
        session = model.session
        with self._admission.admitted(call), self._segments.reading() as memory:
            feeds = inputs.feeds(request.tensors, session.inputs, memory=memory)
            with self._metrics.prediction(model.handle):
                outputs = session.run(feeds, when_over=call.when_over)
            named = zip(session.outputs, outputs)
            return wire.predict_response([tensors.to_wire(spec.name, array) for spec, array in named])

    def load_model(self, request: agent_pb2.LoadModelRequest) -> agent_pb2.LoadModelResponse:
        """Load a model."""
        try:
            model = self._models.load(handle=request.handle or request.name, url=request.url)
        except (FailedPreconditionError, NotFoundError, ResourceExhaustedError) as error:
            self._metrics.count(next(name for kind, name in _LOAD_FAILURES if isinstance(error, kind)))
            raise
        self._metrics.loaded(model.handle)
        return agent_pb2.LoadModelResponse(model=_description(model))

    def unload_model(self, request: agent_pb2.UnLoadModelRequest) -> agent_pb2.UnLoadModelResponse:
        """Unload a model."""
        self._models.unload(request.handle or request.name)
        return agent_pb2.UnLoadModelResponse()

    def list_models(self, request: agent_pb2.ListModelsRequest) -> agent_pb2.ListModelsResponse:  # noqa: ARG002 # empty
        """List the loaded models."""
        return agent_pb2.ListModelsResponse(models=map(_description, self._models.list()))

    def describe_model(self, request: agent_pb2.DescribeModelRequest) -> agent_pb2.DescribeModelResponse:
        """Describe a loaded model."""
        model = self._models.get(request.handle or request.name)
        return agent_pb2.DescribeModelResponse(model=_description(model))

    def capture_data(self, request: agent_pb2.CaptureDataRequest) -> agent_pb2.CaptureDataResponse:
        """Keep the data of an inference."""
        model = self._models.get(request.model_handle or request.model_name)
        with self._segments.reading() as memory:
            capture = requests.to_capture(request, model, memory=memory)
        self._captures.add(capture, handle=model.handle)
        return agent_pb2.CaptureDataResponse()

    def get_capture_data_status(
        self, request: agent_pb2.GetCaptureDataStatusRequest
    ) -> agent_pb2.GetCaptureDataStatusResponse:
        """Tell how far a capture has come."""
        return agent_pb2.GetCaptureDataStatusResponse(status=_STATUSES[self._captures.status(request.capture_id)])


def _description(model: LoadedModel) -> agent_pb2.Model:
    return agent_pb2.Model(
        url=model.url,
        name=model.handle,
        handle=model.handle,
        input_tensor_metadatas=map(tensors.to_metadata, model.session.inputs),
        output_tensor_metadatas=map(tensors.to_metadata, model.session.outputs),
    )
