# SPDX-License-Identifier: Apache-2.0
"""What the real agent carries and what it withstands: types, models, overload, deadlines, noise."""

from __future__ import annotations

import concurrent.futures
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from onnx import TensorProto, helper

from edge_agent.transport import GRPCIO, HTTP2
from edge_contract import sysv, tensors, wire
from edge_contract.client import AgentClient, AgentError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.agent.conftest import AgentProcess

pytestmark = pytest.mark.parametrize("transport", [HTTP2, GRPCIO], indirect=True, scope="module")

TYPES = {
    "uint8": TensorProto.UINT8,
    "int16": TensorProto.INT16,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "float16": TensorProto.FLOAT16,
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
}
PREDICT = "/AWS.SageMaker.Edge.Agent/Predict"


def model(nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: list[Any] | None = None) -> bytes:
    graph = helper.make_graph(nodes, "test", inputs, outputs, weights or [])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = made.SerializeToString()
    return content


def same(element: int) -> bytes:
    """A model that gives back what it is given, with any number of rows and columns."""
    spec = ["n", "m"]
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    return model(
        nodes, [helper.make_tensor_value_info("x", element, spec)], [helper.make_tensor_value_info("y", element, spec)]
    )


def slow() -> bytes:
    """A model that takes some milliseconds for each unit of its input: a loop of matrix products."""
    size = 256
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["still"]),
            helper.make_node("MatMul", ["a", "w"], ["b"]),
            helper.make_node("Tanh", ["b"], ["c"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("a", TensorProto.FLOAT, [size, size]),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("c", TensorProto.FLOAT, [size, size]),
        ],
    )
    weights = [
        helper.make_tensor("w", TensorProto.FLOAT, [size, size], np.full(size * size, 0.01, np.float32)),
        helper.make_tensor("start", TensorProto.FLOAT, [size, size], np.ones(size * size, np.float32)),
        helper.make_tensor("true", TensorProto.BOOL, [], [True]),
    ]
    nodes = [
        helper.make_node("Loop", ["times", "true", "start"], ["end"], body=body),
        helper.make_node("ReduceMean", ["end"], ["y"], keepdims=0),
    ]
    times = helper.make_tensor_value_info("times", TensorProto.INT64, [])
    return model(nodes, [times], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])], weights)


class TestTypes:
    @pytest.mark.parametrize("name", list(TYPES))
    @pytest.mark.parametrize("rows", [0, 1, 3, 70_000])  # the last one goes through shared memory
    def test_every_type_goes_in_and_out_with_any_shape(
        self, client: AgentClient, make_package: Callable[..., Path], name: str, rows: int
    ) -> None:
        client.load_model(str(make_package({"m.onnx": same(TYPES[name])})), "same")
        array = (np.arange(rows * 5).reshape(rows, 5) % 120).astype(name)
        got = client.predict("same", {"x": array})["y"]
        assert got.dtype == array.dtype
        np.testing.assert_array_equal(got, array)

    def test_an_answer_is_no_view_of_the_clients_segment(
        self, client: AgentClient, make_package: Callable[..., Path]
    ) -> None:
        client.load_model(str(make_package({"m.onnx": same(TensorProto.FLOAT)})), "same")
        first, second = (np.full((40_000, 5), value, np.float32) for value in (1, 2))
        answers = [client.predict("same", {"x": array})["y"] for array in (first, second)]
        np.testing.assert_array_equal(answers[0], first)
        np.testing.assert_array_equal(answers[1], second)

    @pytest.mark.parametrize("element", [TensorProto.BOOL, TensorProto.INT8, TensorProto.UINT16, TensorProto.STRING])
    def test_other_types_are_refused_at_load_by_name(
        self, client: AgentClient, make_package: Callable[..., Path], element: int
    ) -> None:
        with pytest.raises(AgentError, match=r"FAILED_PRECONDITION.*'x'.*tensor\("):
            client.load_model(str(make_package({"m.onnx": same(element)})), "same")


class TestModels:
    def test_models_share_a_bound_of_memory(
        self, agent: AgentProcess, make_package: Callable[..., Path], package: Path
    ) -> None:
        weights = {"m.onnx": same(TensorProto.FLOAT), "w.bin": bytes(600_000)}
        first, second = make_package(weights, name="first"), make_package(weights, name="second")
        agent.start(ModelMemoryMaxBytes=str(1024 * 1024))
        with agent.client() as client:
            client.load_model(str(first), "first")
            client.load_model(str(package), "small")
            with pytest.raises(
                AgentError, match=r"it needs 60\d{4} bytes, .*of 1048576 \(ModelMemoryMaxBytes\)"
            ) as caught:
                client.load_model(str(second), "second")
            assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
            for name in ("first", "small"):
                assert client.describe_model(name).name == name
            client.unload_model("first")
            client.load_model(str(second), "second")


class TestOverload:
    @pytest.fixture
    def busy(
        self, agent: AgentProcess, make_package: Callable[..., Path]
    ) -> Iterator[tuple[AgentProcess, AgentClient, Callable[..., Any]]]:
        """An agent that runs one prediction and lets one wait, and a way to give it work."""
        agent.start(MaxConcurrentPredictions="1", MaxQueuedPredictions="1")
        with (
            agent.client() as client,
            grpc.insecure_channel(f"unix://{agent.socket}") as channel,
            concurrent.futures.ThreadPoolExecutor(16) as pool,
        ):
            client.load_model(str(make_package({"m.onnx": slow()})), "slow")

            def work(times: int, seconds: float | None = 30.0) -> Any:
                """A call that goes on by itself."""
                array = np.array(times, np.int64)
                message = wire.predict_request("slow", [tensors.to_wire("times", array)])
                method: Any = channel.unary_unary(PREDICT)
                return method.future(message, timeout=seconds)

            yield agent, client, work
            pool.shutdown()

    def test_beyond_the_queue_calls_are_refused_at_once_and_others_are_answered(
        self, busy: tuple[AgentProcess, AgentClient, Callable[..., Any]], eventually: Callable[..., None]
    ) -> None:
        _, client, work = busy
        calls = [work(4000) for _ in range(12)]
        eventually(lambda: sum(call.done() for call in calls) >= len(calls) - 2)
        assert client.list_models()[0].name == "slow"  # while all that goes on
        codes = [call.code() for call in calls]
        assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert codes.count(grpc.StatusCode.OK) == 2
        assert any("MaxConcurrentPredictions" in call.details() for call in calls)
        assert work(1).code() is grpc.StatusCode.OK

    def test_who_has_no_deadline_waits_for_its_turn(
        self, busy: tuple[AgentProcess, AgentClient, Callable[..., Any]]
    ) -> None:
        _, _, work = busy
        long = work(1_000_000, seconds=60)
        time.sleep(0.1)  # it runs
        patient = work(1, seconds=None)
        time.sleep(0.1)  # it waits
        assert not patient.done()
        long.cancel()
        assert patient.code() is grpc.StatusCode.OK
        assert work(1).code() is grpc.StatusCode.OK

    def test_who_waits_in_vain_frees_the_queue(
        self, busy: tuple[AgentProcess, AgentClient, Callable[..., Any]], eventually: Callable[..., None]
    ) -> None:
        _, _, work = busy
        long = work(1_000_000, seconds=60)
        time.sleep(0.1)  # it runs
        late = work(1, seconds=0.1)
        assert late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        gone = work(1)
        time.sleep(0.1)  # it waits
        gone.cancel()
        followers = []

        def waits() -> bool:
            """Whether the place in the queue is free again: a call that finds none is refused at once."""
            followers.append(work(1))
            try:
                followers[-1].exception(timeout=0.2)
            except grpc.FutureTimeoutError:
                return True
            return False

        eventually(waits)
        long.cancel()
        assert followers[-1].code() is grpc.StatusCode.OK

    def test_a_running_prediction_that_nobody_waits_for_is_interrupted(
        self, busy: tuple[AgentProcess, AgentClient, Callable[..., Any]]
    ) -> None:
        _, client, work = busy
        call = work(1_000_000, seconds=0.3)  # a quarter of an hour
        assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        call = work(1_000_000)
        time.sleep(0.1)
        call.cancel()
        assert work(1, seconds=10).code() is grpc.StatusCode.OK
        assert client.list_models()[0].name == "slow"

    def test_a_client_that_vanishes_leaves_nothing_behind(
        self, busy: tuple[AgentProcess, AgentClient, Callable[..., Any]], eventually: Callable[..., None]
    ) -> None:
        agent, client, work = busy
        for _ in range(3):
            with AgentClient(agent.socket) as own:
                thread = threading.Thread(target=_ignore, args=(own,))
                thread.start()
                time.sleep(0.05)
            thread.join()
        eventually(lambda: work(1).code() is grpc.StatusCode.OK)
        assert client.list_models()[0].name == "slow"
        assert not agent.events("internal_error")


def _ignore(client: AgentClient) -> None:
    """Predict with a client that is closed meanwhile."""
    try:
        client.predict("slow", {"times": np.array(50, np.int64)})
    except (AgentError, ValueError):
        return


class TestNoise:
    def test_a_message_that_is_too_long_is_refused_and_the_next_one_is_not(
        self, agent: AgentProcess, package: Path
    ) -> None:
        agent.start(MaxMessageBytes=str(4 * 1024 * 1024))
        with AgentClient(agent.socket, shared_memory=False) as client:
            client.load_model(str(package), "digits")
            with pytest.raises(AgentError, match="RESOURCE_EXHAUSTED"):
                client.predict("digits", {"x": np.zeros((500_000, 4), np.float32)})
            assert client.predict("digits", {"x": np.zeros((1, 4), np.float32)})["y"].shape == (1, 3)
        with agent.client() as client:  # through shared memory it fits; its answer does not
            assert client.predict("digits", {"x": np.zeros((300_000, 4), np.float32)})["y"].shape == (300_000, 3)
            with pytest.raises(AgentError, match="RESOURCE_EXHAUSTED"):
                client.predict("digits", {"x": np.zeros((400_000, 4), np.float32)})
            assert client.list_models()[0].name == "digits"

    def test_damaged_messages_of_every_kind_end_in_a_status_and_not_in_a_defect(
        self, shared_agent: AgentProcess, client: AgentClient, package: Path
    ) -> None:
        client.load_model(str(package), "digits")
        generator = random.Random(7)  # noqa: S311 # repeatable noise
        segment = sysv.create(64, 0o400)
        place = wire.SharedMemory(segment, 8, 32)
        good = [
            wire.predict_request("digits", [tensors.to_wire("x", np.zeros((1, 4), np.float32))]),
            wire.predict_request("digits", [wire.Tensor(b"x", 5, (2, 4), described=True, shared_memory=place)]),
        ]
        try:
            with grpc.insecure_channel(f"unix://{shared_agent.socket}") as channel:
                for number in range(1500):
                    message = bytearray(generator.choice(good))
                    for _ in range(generator.randrange(1, 4)):
                        message[generator.randrange(len(message))] = generator.randrange(256)
                    rpc = "CaptureData" if number % 5 == 0 else "Predict"
                    method: Any = channel.unary_unary(PREDICT.replace("Predict", rpc))
                    try:
                        method(bytes(message), timeout=10)
                    except grpc.RpcError as error:
                        failed: Any = error
                        assert failed.code() in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}, message
        finally:
            sysv.remove(segment)
        assert not shared_agent.events("internal_error")
        assert client.predict("digits", {"x": np.zeros((1, 4), np.float32)})["y"].shape == (1, 3)
