# SPDX-License-Identifier: Apache-2.0
"""Every call of the contract with every status that it documents, against the real agent on its real socket."""

from __future__ import annotations

import datetime as dt
import os
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from edge_agent.transport import GRPCIO, HTTP2
from edge_contract import agent_pb2, agent_pb2_grpc, tensors
from edge_contract.client import AgentError, AgentNotFoundError, Auxiliary, CaptureStatus
from edge_contract.errors import AgentAlreadyExistsError

if TYPE_CHECKING:
    from pathlib import Path

    from edge_contract.client import AgentClient
    from tests.agent.conftest import S3, AgentProcess

pytestmark = pytest.mark.parametrize("transport", [HTTP2, GRPCIO], indirect=True, scope="module")

X = np.array([[1, 2, 3, 4]], np.float32)
Y = X @ np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture
def loaded(client: AgentClient, package: Path) -> AgentClient:
    client.load_model(str(package), "digits")
    return client


def refused(code: grpc.StatusCode, *words: str) -> pytest.RaisesExc[AgentError]:
    def check(error: AgentError) -> bool:
        assert error.code is code, error
        assert all(word in error.details for word in words), error
        return True

    return pytest.RaisesExc(AgentError, check=check)


def request(*given: agent_pb2.Tensor, name: str = "digits") -> agent_pb2.PredictRequest:
    return agent_pb2.PredictRequest(name=name, tensors=given)


class TestModels:
    def test_a_model_is_loaded_described_listed_and_unloaded(self, client: AgentClient, package: Path) -> None:
        model = client.load_model(f"file://{package}", "my-model-1")
        assert (model.name, model.url) == ("my-model-1", f"file://{package}")
        assert model.inputs == (tensors.TensorSpec("x", agent_pb2.FLOAT32, (-1, 4)),)
        assert model.outputs == (tensors.TensorSpec("y", agent_pb2.FLOAT32, (-1, 3)),)
        assert client.describe_model("my-model-1") == model
        assert client.list_models() == [model]
        client.unload_model("my-model-1")
        assert client.list_models() == []

    def test_an_url_may_be_relative_to_the_agents_directory(
        self, client: AgentClient, shared_agent: AgentProcess, package: Path
    ) -> None:
        url = os.path.relpath(package, shared_agent.work)
        assert url.startswith("..")
        assert client.load_model(url, "digits").url == url

    def test_nothing_is_known_under_an_unknown_handle(self, client: AgentClient) -> None:
        calls: list[Callable[[], object]] = [
            lambda: client.unload_model("absent"),
            lambda: client.describe_model("absent"),
            lambda: client.predict("absent", {"x": X}),
            lambda: client.capture_data("absent", "c", {"x": X}, {}),
        ]
        for call in calls:
            with refused(grpc.StatusCode.NOT_FOUND, "absent"):
                call()

    def test_a_handle_is_used_once(self, loaded: AgentClient, package: Path) -> None:
        with pytest.raises(AgentAlreadyExistsError):
            loaded.load_model(str(package), "digits")
        assert loaded.ensure_loaded(str(package), "digits").name == "digits"

    def test_a_missing_directory_is_not_found(self, client: AgentClient, tmp_path: Path) -> None:
        with pytest.raises(AgentNotFoundError, match="absent"):
            client.ensure_loaded(str(tmp_path / "absent"), "digits")

    @pytest.mark.parametrize("handle", ["", "a_b", "a.b", "-a", "a-", "a" * 256, "a\n"])
    def test_a_malformed_handle_is_refused(self, client: AgentClient, package: Path, handle: str) -> None:
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "handle"):
            client.load_model(str(package), handle)

    @pytest.mark.parametrize("url", ["", "s3://bucket/key", "file://host/path", "a\0b"])
    def test_an_url_that_is_no_local_directory_is_refused(self, client: AgentClient, url: str) -> None:
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "url"):
            client.load_model(url, "digits")

    def test_a_refusal_about_a_long_name_still_arrives(self, client: AgentClient) -> None:
        with refused(grpc.StatusCode.NOT_FOUND, "ééé"):
            client.load_model("/é".join("é" * 100 for _ in range(15)), "digits")
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "digits"):
            client.load_model("é" * 3000, "digits")

    def test_there_is_a_bound_of_models(self, loaded: AgentClient, package: Path) -> None:
        loaded.load_model(str(package), "second")
        with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "MaxModels"):
            loaded.load_model(str(package), "third")

    def test_an_altered_package_is_refused_and_the_file_named(self, client: AgentClient, package: Path) -> None:
        content = bytearray((package / "model.onnx").read_bytes())
        content[-1] ^= 1
        (package / "model.onnx").write_bytes(content)
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "model.onnx"):
            client.load_model(str(package), "digits")


class TestPredict:
    def test_outputs_come_with_metadata(self, loaded: AgentClient, shared_agent: AgentProcess) -> None:
        np.testing.assert_array_equal(loaded.predict("digits", {"x": X})["y"], Y)
        with grpc.insecure_channel(f"unix://{shared_agent.socket}") as channel:
            stub = agent_pb2_grpc.AgentStub(channel)  # type: ignore[no-untyped-call]
            answer = stub.Predict(request(agent_pb2.Tensor(byte_data=X.tobytes())))  # as the oldest clients do
        assert tensors.from_metadata(answer.tensors[0].tensor_metadata) == tensors.TensorSpec(
            "y", agent_pb2.FLOAT32, (1, 3)
        )

    def test_batches_have_any_length(self, loaded: AgentClient) -> None:
        batch = np.repeat(X, 5, axis=0)
        np.testing.assert_array_equal(loaded.predict("digits", {"x": batch})["y"], np.repeat(Y, 5, axis=0))

    def test_one_input_may_have_any_name(self, loaded: AgentClient) -> None:
        np.testing.assert_array_equal(loaded.predict("digits", {"whatever": X})["y"], Y)

    def test_a_large_message_passes(self, loaded: AgentClient) -> None:
        rows = np.ones((1_000_000, 4), np.float32)  # 16 MB, four times gRPC's own bound
        assert loaded.predict("digits", {"x": rows})["y"].shape == (1_000_000, 3)

    @pytest.mark.usefixtures("loaded")
    def test_a_handle_wins_over_a_name(self, shared_agent: AgentProcess) -> None:
        message = agent_pb2.PredictRequest(name="absent", handle="digits", tensors=[tensors.to_tensor("x", X)])
        with grpc.insecure_channel(f"unix://{shared_agent.socket}") as channel:
            stub = agent_pb2_grpc.AgentStub(channel)  # type: ignore[no-untyped-call]
            assert len(stub.Predict(message).tensors) == 1

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({}, ("expected 1", "'x'", "got 0")),
            ({"x": X, "z": X}, ("expected 1", "got 2")),
            ({"x": X.astype(np.float64)}, ("'x'", "FLOAT32; -1, 4", "FLOAT64; 1, 4")),
            ({"x": X[:, :3]}, ("'x'", "FLOAT32; -1, 4", "FLOAT32; 1, 3")),
            ({"x": X[0]}, ("'x'", "FLOAT32; -1, 4", "FLOAT32; 4")),
        ],
    )
    def test_inputs_that_do_not_fit_are_refused(
        self, loaded: AgentClient, given: dict[str, np.ndarray[Any, Any]], words: tuple[str, ...]
    ) -> None:
        with refused(grpc.StatusCode.INVALID_ARGUMENT, *words):
            loaded.predict("digits", given)


class TestCaptures:
    def test_a_capture_is_in_progress_until_its_batch_arrived(
        self, agent: AgentProcess, package: Path, eventually: Callable[..., None]
    ) -> None:
        agent.start(CaptureDataBatchSize="3", CaptureDataPushPeriodSeconds="60")
        ids = [str(uuid.uuid4()) for _ in range(3)]
        with agent.client() as client:
            client.load_model(str(package), "digits")
            client.capture_data("digits", ids[0], {"x": X}, {"y": Y})
            assert client.capture_status(ids[0]) is CaptureStatus.IN_PROGRESS
            for capture_id in ids[1:]:
                client.capture_data("digits", capture_id, {"x": X}, {"y": Y})
            eventually(lambda: client.capture_status(ids[0]) is CaptureStatus.SUCCESS)
            with pytest.raises(AgentAlreadyExistsError, match=ids[0]):
                client.capture_data("digits", ids[0], {"x": X}, {"y": Y})
        assert [record["eventMetadata"]["eventId"] for record in agent.disk_records()] == ids

    def test_an_id_is_accepted_once(self, loaded: AgentClient) -> None:
        capture_id = str(uuid.uuid4())
        loaded.capture_data("digits", capture_id, {"x": X}, {"y": Y})
        with pytest.raises(AgentAlreadyExistsError, match=capture_id):
            loaded.capture_data("digits", capture_id, {"x": X}, {"y": Y})

    def test_unknown_ids_are_not_found(self, client: AgentClient) -> None:
        with pytest.raises(AgentNotFoundError, match="absent"):
            client.capture_status("absent")

    @pytest.mark.parametrize("capture_id", ["", "with space", "line\nfeed", "a/b", "x" * 256, "é"])
    def test_malformed_ids_are_refused(self, loaded: AgentClient, capture_id: str) -> None:
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "capture id"):
            loaded.capture_data("digits", capture_id, {"x": X}, {})

    def test_a_future_inference_is_out_of_range_but_clocks_may_differ_a_little(self, loaded: AgentClient) -> None:
        now = dt.datetime.now(dt.UTC)
        loaded.capture_data("digits", "a", {"x": X}, {}, inference_timestamp=now + dt.timedelta(seconds=3))
        with refused(grpc.StatusCode.OUT_OF_RANGE, "inference_timestamp"):
            loaded.capture_data("digits", "b", {"x": X}, {}, inference_timestamp=now + dt.timedelta(minutes=1))

    @pytest.mark.parametrize("stamp", [(-1, 0), (0, -1), (1, 1_000_000_000)])
    def test_a_malformed_timestamp_is_refused(self, loaded: AgentClient, stamp: tuple[int, int]) -> None:
        moment = agent_pb2.Timestamp(seconds=stamp[0], nanos=stamp[1])
        message = agent_pb2.CaptureDataRequest(model_name="digits", capture_id="a", inference_timestamp=moment)
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "inference_timestamp"):
            loaded._call("CaptureData", message)

    def test_tensors_must_be_whole(self, loaded: AgentClient) -> None:
        tensor = tensors.to_tensor("x", X)
        tensor.byte_data = tensor.byte_data[:-1]
        message = agent_pb2.CaptureDataRequest(model_name="digits", capture_id="a", input_tensors=[tensor])
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "'x'", "16 bytes", "15"):
            loaded._call("CaptureData", message)

    def test_bad_base64_is_refused(self, loaded: AgentClient) -> None:
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "base64"):
            loaded.capture_data(
                "digits", "a", {}, {}, auxiliary_inputs=[Auxiliary("jpg", b"not base64!", agent_pb2.BASE64)]
            )

    def test_a_full_buffer_refuses(self, agent: AgentProcess, package: Path, eventually: Callable[..., None]) -> None:
        agent.start(CaptureDataBufferSize="3", CaptureDataBatchSize="2", CaptureDataPushPeriodSeconds="60")
        with agent.client() as client:
            client.load_model(str(package), "digits")
            # The plans of batches are written in a directory that cannot be: nothing leaves the buffer.
            (agent.work / "spool/batches").rmdir()
            for number in range(3):
                client.capture_data("digits", f"id-{number}", {"x": X}, {})
            with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "CaptureDataBufferSize"):
                client.capture_data("digits", "id-3", {"x": X}, {})
            (agent.work / "spool/batches").mkdir()
            eventually(lambda: client.capture_status("id-0") is CaptureStatus.SUCCESS)

    def test_a_full_spool_refuses_and_takes_captures_again_when_it_drained(
        self, agent: AgentProcess, package: Path, s3: S3, eventually: Callable[..., None]
    ) -> None:
        s3.failing = True
        agent.start(
            CaptureDataDestination="Cloud",
            BucketName="captures-sagemaker-test",
            CaptureDataBatchSize="1",
            CaptureSpoolMaxBytes=str(1024 * 1024),
        )
        half = np.zeros((30_000, 4), np.float32)  # 480 kB
        with agent.client() as client:
            client.load_model(str(package), "digits")
            client.capture_data("digits", "a", {"x": half}, {})
            client.capture_data("digits", "b", {"x": half}, {})
            with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "CaptureSpoolMaxBytes"):
                client.capture_data("digits", "c", {"x": half}, {})
            assert client.capture_status("a") is CaptureStatus.IN_PROGRESS
            s3.failing = False
            eventually(lambda: client.capture_status("b") is CaptureStatus.SUCCESS)
            client.capture_data("digits", "c", {"x": half}, {})
