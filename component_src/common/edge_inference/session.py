# SPDX-License-Identifier: Apache-2.0
"""One model at one agent: loaded before it is used, and again whenever the agent lost it."""

from __future__ import annotations

import contextlib
import datetime as dt
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edge_contract.client import AgentClient
from edge_contract.errors import (
    AgentAlreadyExistsError,
    AgentError,
    AgentNotFoundError,
    AgentResourceExhaustedError,
    AgentTimeoutError,
    AgentUnavailableError,
)
from edge_inference import log

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from edge_inference.configuration import Served
    from edge_inference.control import Control

_ABSENCE_REPORT_SECONDS = 30.0
_LONGEST_ABSENCE_WAIT_SECONDS = 1.0  # no longer than the channel's own reconnect takes: agents restart in a second
_FIRST_WAIT_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 10.0
_CAPTURE_FULL_SECONDS = 60.0
_PREDICT_TIMEOUTS = 3  # a model that hangs on one image must not stop the others

_LOST = (AgentUnavailableError, AgentNotFoundError)


@dataclass
class Inference:
    """One image on its way. It keeps how far it has come, so that it can be gone on with after an interruption.

    Attributes:
        inputs: the model's input tensors by name.
        capture_id: the same in every attempt, so that no attempt makes a second capture.
        moment: of the prediction.
        outputs: the model's output tensors by name, once predicted.
        predict_ms: milliseconds of the call that answered.
        captured: True when acknowledged, False when given up, None when not yet known.
    """

    inputs: dict[str, npt.NDArray[Any]]
    capture_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    moment: dt.datetime | None = None
    outputs: dict[str, npt.NDArray[Any]] | None = None
    predict_ms: float = 0.0
    captured: bool | None = None
    capture_attempts: int = 0


def growing_waits() -> Iterator[float]:
    """Seconds to wait before each further attempt: doubled each time, up to a limit."""
    wait = _FIRST_WAIT_SECONDS
    while True:
        yield wait
        wait = min(wait * 2, _LONGEST_WAIT_SECONDS)


class ModelSession:
    """Predicts and captures with one model, through restarts of the agent.

    Every wait ends early with `Stopping` or `Changed`; the inference can be passed in again.

    Args:
        served: the model and the agent's socket.
        control: ends waits.

    Raises:
        ValueError: the socket's path is too long for a unix socket.
    """

    def __init__(self, served: Served, control: Control) -> None:
        self.served = served
        self._control = control
        self._client = AgentClient(served.socket)
        self._loaded = False

    def predict(self, inference: Inference) -> None:
        """Fill `outputs`, `moment` and `predict_ms`, unless they are there.

        Raises:
            AgentError: the agent refuses this input, or did not answer in time several times.
        """
        timeouts = 0
        for wait in growing_waits():
            if inference.outputs is not None:
                return
            self.load()
            started = time.monotonic()
            moment = dt.datetime.now(dt.timezone.utc)
            try:
                inference.outputs = self._client.predict(self.served.model_name, inference.inputs)
                inference.moment = moment
                inference.predict_ms = round((time.monotonic() - started) * 1000, 3)
            except _LOST as error:
                self._lost(error, wait)
            except AgentTimeoutError as error:
                timeouts += 1
                if timeouts == _PREDICT_TIMEOUTS:
                    raise
                self._lost(error, wait)

    def capture(self, inference: Inference) -> None:
        """Have a predicted inference kept, exactly once; sets `captured`.

        A full agent is asked again for a while. What it refuses then is lost, and said so in the log.
        """
        full_since: float | None = None
        for wait in growing_waits():
            if inference.captured is not None:
                return
            self.load()
            inference.capture_attempts += 1
            try:
                self._client.capture_data(
                    self.served.model_name,
                    inference.capture_id,
                    inference.inputs,
                    inference.outputs or {},
                    inference_timestamp=inference.moment,
                )
                inference.captured = True
            except AgentAlreadyExistsError as error:
                # The acknowledgement of an earlier attempt got lost; the capture did not.
                inference.captured = inference.capture_attempts > 1
                if not inference.captured:
                    log.error("capture_lost", capture_id=inference.capture_id, error=str(error))
            except (*_LOST, AgentTimeoutError) as error:
                self._lost(error, wait)
            except AgentResourceExhaustedError as error:
                full_since = full_since or time.monotonic()
                if time.monotonic() - full_since > _CAPTURE_FULL_SECONDS:
                    self._give_up(inference, error)
                else:
                    log.warning("agent_full", capture_id=inference.capture_id, retry_seconds=wait, error=str(error))
                    self._control.wait(wait)
            except AgentError as error:
                self._give_up(inference, error)

    @staticmethod
    def _give_up(inference: Inference, error: AgentError) -> None:
        inference.captured = False
        log.error("capture_lost", capture_id=inference.capture_id, error=str(error))

    def load(self) -> None:
        """Load the model unless it is; waits for the agent, and tries again until it succeeds."""
        began = reported = time.monotonic()
        for wait in growing_waits():
            if self._loaded:
                return
            try:
                self._load()
            except AgentUnavailableError as error:
                now = time.monotonic()
                if now - reported >= _ABSENCE_REPORT_SECONDS:
                    reported = now
                    log.warning(
                        "agent_awaited", socket=str(self.served.socket), seconds=round(now - began), error=str(error)
                    )
                self._control.wait(min(wait, _LONGEST_ABSENCE_WAIT_SECONDS))
            except AgentError as error:
                log.error(
                    "model_load_failed",
                    model=self.served.model_name,
                    url=self.served.model_path,
                    error=str(error),
                    retry_seconds=wait,
                )
                self._control.wait(wait)

    def _load(self) -> None:
        name, url = self.served.model_name, self.served.model_path
        # The agent outlives its clients: what it holds under this name may be the package of before an update.
        with contextlib.suppress(AgentNotFoundError):
            self._client.unload_model(name)
        started = time.monotonic()
        try:
            model = self._client.load_model(url, name)
        except AgentAlreadyExistsError:
            # Another client of the same model was quicker; it is as fresh as ours would have been.
            model = self._client.describe_model(name)
            log.warning("model_shared", model=name, url=model.url, expected_url=url)
        self._loaded = True
        log.info(
            "model_ready",
            model=name,
            url=model.url,
            inputs={item.name: str(item) for item in model.inputs},
            outputs={item.name: str(item) for item in model.outputs},
            seconds=round(time.monotonic() - started, 3),
        )

    def _lost(self, error: AgentError, wait: float) -> None:
        self._loaded = False
        log.warning("agent_lost", error=str(error), retry_seconds=wait)
        self._control.wait(wait)

    def close(self, *, unload: bool) -> None:
        """End the connection, and have the agent forget the model if asked to; an agent that is gone is no error."""
        if unload and self._loaded:
            try:
                self._client.unload_model(self.served.model_name)
                log.info("model_unloaded", model=self.served.model_name)
            except AgentError as error:
                log.warning("model_unload_failed", model=self.served.model_name, error=str(error))
        self._loaded = False
        self._client.close()
