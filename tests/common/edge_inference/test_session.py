# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: N802 - a servicer's methods are named as the RPCs are
"""The session against an agent that answers what the real one answers rarely: a servicer on the real stubs."""

from __future__ import annotations

import json
import threading
from collections import deque
from concurrent import futures
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_contract import agent_pb2, agent_pb2_grpc, tensors
from edge_contract.errors import AgentError
from edge_inference import session as session_module
from edge_inference.configuration import Served
from edge_inference.control import Changed, Control, Stopping
from edge_inference.session import Inference, ModelSession

if TYPE_CHECKING:
    from collections.abc import Iterator

Code = grpc.StatusCode


class Agent(agent_pb2_grpc.AgentServicer):
    """Keeps models and captures as the contract says, except for what a test scripts.

    A script is what the next calls of an RPC do: a status to answer with instead of acting, or ("after", status) to
    act and answer with the status all the same, as when the acknowledgement gets lost.
    """

    def __init__(self) -> None:
        self.script: dict[str, deque[Any]] = {}
        self.calls: list[str] = []
        self.models: set[str] = set()
        self.captures: dict[str, int] = {}

    def _scripted(self, rpc: str, context: grpc.ServicerContext, *, after: bool) -> None:
        script = self.script.get(rpc)
        if not script:
            return
        if isinstance(script[0], tuple) == after:
            step = script.popleft()
            context.abort(step[1] if after else step, "scripted")

    def _act(self, rpc: str, context: grpc.ServicerContext) -> None:
        self.calls.append(rpc)
        if not isinstance((self.script.get(rpc) or [None])[0], tuple):
            self._scripted(rpc, context, after=False)

    def LoadModel(self, request: Any, context: Any) -> Any:
        self._act("LoadModel", context)
        if request.handle in self.models:
            context.abort(Code.ALREADY_EXISTS, "loaded")
        self.models.add(request.handle)
        return agent_pb2.LoadModelResponse(model=agent_pb2.Model(url=request.url, name=request.handle))

    def UnLoadModel(self, request: Any, context: Any) -> Any:
        self._act("UnLoadModel", context)
        if request.handle not in self.models:
            context.abort(Code.NOT_FOUND, "not loaded")
        self.models.remove(request.handle)
        return agent_pb2.UnLoadModelResponse()

    def DescribeModel(self, request: Any, context: Any) -> Any:
        self._act("DescribeModel", context)
        return agent_pb2.DescribeModelResponse(model=agent_pb2.Model(url="elsewhere", name=request.handle))

    def Predict(self, request: Any, context: Any) -> Any:
        self._act("Predict", context)
        if request.handle not in self.models:
            context.abort(Code.NOT_FOUND, "not loaded")
        return agent_pb2.PredictResponse(tensors=[tensors.to_tensor("p", np.ones((1, 2), np.float32))])

    def CaptureData(self, request: Any, context: Any) -> Any:
        self._act("CaptureData", context)
        if request.model_handle not in self.models:
            context.abort(Code.NOT_FOUND, "not loaded")
        if request.capture_id in self.captures:
            context.abort(Code.ALREADY_EXISTS, "known")
        self.captures[request.capture_id] = self.captures.get(request.capture_id, 0) + 1
        self._scripted("CaptureData", context, after=True)
        return agent_pb2.CaptureDataResponse()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    agent = Agent()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    agent_pb2_grpc.add_AgentServicer_to_server(agent, server)  # type: ignore[no-untyped-call]
    server.add_insecure_port(f"unix://{tmp_path / 'agent.sock'}")
    server.start()
    yield agent
    server.stop(None).wait()


@pytest.fixture
def control() -> Control:
    return Control()


@pytest.fixture
def session(agent: Agent, control: Control, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelSession]:
    assert agent.calls == []
    monkeypatch.setattr(session_module, "_FIRST_WAIT_SECONDS", 0.001)
    monkeypatch.setattr(session_module, "_LONGEST_WAIT_SECONDS", 0.01)
    session = ModelSession(Served(tmp_path / "agent.sock", "digits", "../model"), control)
    yield session
    session.close(unload=False)


def image() -> Inference:
    return Inference(inputs={"image": np.zeros((1, 1, 8, 8), np.float32)})


def run(session: ModelSession, inference: Inference) -> None:
    session.predict(inference)
    session.capture(inference)


def test_what_the_agent_held_before_is_loaded_afresh(agent: Agent, session: ModelSession) -> None:
    agent.models.add("digits")
    run(session, image())
    run(session, image())
    assert agent.calls == ["UnLoadModel", "LoadModel", *["Predict", "CaptureData"] * 2]


def test_a_model_that_another_client_loaded_meanwhile_is_shared(
    agent: Agent, session: ModelSession, capsys: pytest.CaptureFixture[str]
) -> None:
    agent.models.add("digits")
    agent.script["UnLoadModel"] = deque([Code.NOT_FOUND])
    run(session, image())
    assert agent.calls[:4] == ["UnLoadModel", "LoadModel", "DescribeModel", "Predict"]
    shared = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (shared["event"], shared["url"], shared["expected_url"]) == ("model_shared", "elsewhere", "../model")


def test_a_capture_whose_acknowledgement_got_lost_is_not_made_twice(agent: Agent, session: ModelSession) -> None:
    agent.script["CaptureData"] = deque([("after", Code.UNAVAILABLE)])
    inference = image()
    run(session, inference)
    assert inference.captured is True
    assert agent.captures == {inference.capture_id: 1}
    assert agent.calls.count("Predict") == 1


def test_an_id_that_is_known_before_it_was_sent_is_a_lost_capture(agent: Agent, session: ModelSession) -> None:
    inference = image()
    agent.captures[inference.capture_id] = 1
    run(session, inference)
    assert inference.captured is False


def test_a_full_agent_is_asked_until_it_has_room(agent: Agent, session: ModelSession) -> None:
    agent.script["CaptureData"] = deque([Code.RESOURCE_EXHAUSTED] * 5)
    inference = image()
    run(session, inference)
    assert inference.captured is True
    assert agent.calls.count("CaptureData") == 6


def test_an_agent_that_stays_full_costs_the_capture_but_not_the_component(
    agent: Agent, session: ModelSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "_CAPTURE_FULL_SECONDS", 0.05)
    agent.script["CaptureData"] = deque([Code.RESOURCE_EXHAUSTED] * 1000)
    inference = image()
    run(session, inference)
    assert inference.captured is False


@pytest.mark.parametrize("code", [Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION, Code.OUT_OF_RANGE, Code.INTERNAL])
def test_a_capture_that_is_refused_is_lost(agent: Agent, session: ModelSession, code: grpc.StatusCode) -> None:
    agent.script["CaptureData"] = deque([code])
    inference = image()
    run(session, inference)
    assert inference.captured is False
    assert agent.calls.count("CaptureData") == 1


def test_an_input_that_is_refused_is_the_callers(agent: Agent, session: ModelSession) -> None:
    agent.script["Predict"] = deque([Code.INVALID_ARGUMENT])
    with pytest.raises(AgentError, match="Predict: INVALID_ARGUMENT"):
        session.predict(image())


def test_a_prediction_that_never_ends_is_given_up(agent: Agent, session: ModelSession) -> None:
    agent.script["Predict"] = deque([Code.DEADLINE_EXCEEDED] * 10)
    with pytest.raises(AgentError, match="DEADLINE_EXCEEDED"):
        session.predict(image())
    assert agent.calls.count("Predict") == 3


def test_waits_end_with_a_stop_or_a_change_and_the_inference_goes_on_where_it_was(
    agent: Agent, session: ModelSession, control: Control
) -> None:
    inference = image()
    session.predict(inference)
    agent.script["CaptureData"] = deque([Code.RESOURCE_EXHAUSTED] * 2)
    control.change()
    with pytest.raises(Changed):
        session.capture(inference)
    assert control.take_change()
    run(session, inference)
    assert inference.captured is True
    assert agent.calls.count("Predict") == 1

    control.stop()
    agent.script["Predict"] = deque([Code.UNAVAILABLE])
    with pytest.raises(Stopping):
        session.predict(image())


_TROUBLE = st.lists(
    st.tuples(
        st.sampled_from(["LoadModel", "UnLoadModel", "Predict", "CaptureData"]),
        st.sampled_from([Code.UNAVAILABLE, Code.NOT_FOUND, Code.RESOURCE_EXHAUSTED, ("after", Code.UNAVAILABLE)]),
    ),
    max_size=8,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(trouble=_TROUBLE)
def test_through_any_trouble_each_image_is_captured_once(
    agent: Agent, session: ModelSession, trouble: list[tuple[str, Any]]
) -> None:
    agent.script.clear()
    for rpc, step in trouble:
        if (rpc == "CaptureData" or not isinstance(step, tuple)) and (rpc, step) != (
            "Predict",
            Code.RESOURCE_EXHAUSTED,
        ):
            agent.script.setdefault(rpc, deque()).append(step)
    inferences = [image(), image()]
    for inference in inferences:
        run(session, inference)
    assert [inference.captured for inference in inferences] == [True, True]
    assert [agent.captures[inference.capture_id] for inference in inferences] == [1, 1]


def test_a_stop_from_another_thread_ends_a_wait_for_an_agent_that_is_not_there(tmp_path: Path) -> None:
    control = Control()
    session = ModelSession(Served(tmp_path / "nobody.sock", "digits", "../model"), control)
    threading.Timer(0.1, control.stop).start()
    with pytest.raises(Stopping):
        session.load()
    session.close(unload=True)
