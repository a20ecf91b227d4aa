# SPDX-License-Identifier: Apache-2.0
"""The contract as a table: RPC, situation, status and words, asked by stubs of each generation and by bytes alone.

Each generation's client is a process of its own, see ``generations/client.py``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from edge_agent.transport import GRPCIO, HTTP2
from edge_package import write_directory
from edge_package.package_stream import build_package
from tests.agent.generations import by_hand
from tests.agent.generations.contract import GENERATIONS, Generation

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from tests.agent.conftest import S3, AgentProcess

pytestmark = pytest.mark.parametrize("transport", [HTTP2, GRPCIO], indirect=True, scope="module")

ROOT = Path(__file__).parents[2]

FLOAT32 = 5
X = np.array([[1, 2, 3, 4]], np.float32)
Y = X @ np.arange(12, dtype=np.float32).reshape(4, 3)
FULL = {"tensor_metadata": {"name": b"x", "data_type": FLOAT32, "shape": [1, 4]}, "byte_data": X.tobytes()}


def tensor(**changes: Any) -> dict[str, Any]:
    """The good input with other metadata."""
    return {**FULL, "tensor_metadata": {**FULL["tensor_metadata"], **changes}}  # type: ignore[dict-item] # a dict


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table: ``model`` goes into whichever field the generation has for it."""

    rpc: str
    situation: str
    code: grpc.StatusCode
    model: str | None
    fields: dict[str, Any]
    words: tuple[str, ...] = ()


OK = grpc.StatusCode.OK
INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
EXISTS = grpc.StatusCode.ALREADY_EXISTS
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
OUT_OF_RANGE = grpc.StatusCode.OUT_OF_RANGE
NO_SEGMENT = {"tensor_metadata": FULL["tensor_metadata"], "shared_memory_handle": {"segment_id": 2**31 - 1}}

TABLE = [
    Row("Predict", "whole metadata", OK, "digits", {"tensors": [FULL]}),
    Row("Predict", "no metadata", OK, "digits", {"tensors": [{"byte_data": X.tobytes()}]}),
    Row(
        "Predict",
        "a name alone",
        OK,
        "digits",
        {"tensors": [{"tensor_metadata": {"name": b"x"}, "byte_data": X.tobytes()}]},
    ),
    Row("Predict", "no type", OK, "digits", {"tensors": [tensor(data_type=0)]}),
    Row("Predict", "no shape", OK, "digits", {"tensors": [tensor(shape=[])]}),
    Row("Predict", "another name", OK, "digits", {"tensors": [tensor(name=b"whatever")]}),
    Row("Predict", "no such model", NOT_FOUND, "absent", {"tensors": [FULL]}, ("'absent'", "LoadModel")),
    Row("Predict", "no model named", NOT_FOUND, None, {"tensors": [FULL]}, ("''",)),
    Row("Predict", "another type", INVALID, "digits", {"tensors": [tensor(data_type=2)]}, ("'x'", "FLOAT32", "INT32")),
    Row("Predict", "an unknown type", INVALID, "digits", {"tensors": [tensor(data_type=99)]}, ("'x'", "99")),
    Row(
        "Predict",
        "too few bytes",
        INVALID,
        "digits",
        {"tensors": [{**FULL, "byte_data": b"abc"}]},
        ("'x'", "16 bytes", "3"),
    ),
    Row(
        "Predict",
        "no bytes",
        INVALID,
        "digits",
        {"tensors": [{"tensor_metadata": FULL["tensor_metadata"]}]},
        ("'x'", "byte_data"),
    ),
    Row("Predict", "negative dimensions", INVALID, "digits", {"tensors": [tensor(shape=[-1, -4])]}, ("'x'", "-1, -4")),
    Row("Predict", "an absurd shape", INVALID, "digits", {"tensors": [tensor(shape=[2**31 - 1] * 4)]}, ("'x'",)),
    Row("Predict", "no input", INVALID, "digits", {}, ("expected 1", "got 0")),
    Row("Predict", "too many inputs", INVALID, "digits", {"tensors": [FULL, FULL]}, ("expected 1", "got 2")),
    Row("Predict", "a dead segment", INVALID, "digits", {"tensors": [NO_SEGMENT]}, ("2147483647",)),
    Row("LoadModel", "a good package", OK, "other-1", {"url": "{package}"}),
    Row("LoadModel", "a good package as a file url", OK, "other-2", {"url": "file://{package}"}),
    Row("LoadModel", "a good package relative to the agent", OK, "other-3", {"url": "{relative}"}),
    Row("LoadModel", "a package file", OK, "other-4", {"url": "{file}"}),
    Row("LoadModel", "the handle is in use", EXISTS, "digits", {"url": "{package}"}, ("'digits'",)),
    Row("LoadModel", "nothing there", NOT_FOUND, "other", {"url": "{package}-absent"}, ("absent",)),
    Row("LoadModel", "a malformed handle", INVALID, "a_b", {"url": "{package}"}, ("handle", "'a_b'")),
    Row("LoadModel", "no handle", INVALID, None, {"url": "{package}"}, ("handle",)),
    Row("LoadModel", "a url from elsewhere", INVALID, "other", {"url": "s3://bucket/key"}, ("s3://bucket/key",)),
    Row("LoadModel", "an altered package", PRECONDITION, "other", {"url": "{altered}"}, ("labels.txt",)),
    Row("LoadModel", "no package", PRECONDITION, "other", {"url": "{empty}"}, ("sagemaker_edge_manifest",)),
    Row(
        "LoadModel",
        "too large",
        EXHAUSTED,
        "other",
        {"url": "{large}"},
        ("needs 15", "of 1048576 (ModelMemoryMaxBytes)"),
    ),
    Row("UnLoadModel", "it is loaded", OK, "spare", {}),
    Row("UnLoadModel", "no such model", NOT_FOUND, "absent", {}, ("'absent'",)),
    Row("ListModels", "always", OK, None, {}),
    Row("DescribeModel", "it is loaded", OK, "digits", {}),
    Row("DescribeModel", "no such model", NOT_FOUND, "absent", {}, ("'absent'",)),
    Row("CaptureData", "tensors", OK, "digits", {"capture_id": "{id}", "input_tensors": [FULL]}),
    Row("CaptureData", "nothing but an id", OK, "digits", {"capture_id": "{id}"}),
    Row("CaptureData", "the id is known", EXISTS, "digits", {"capture_id": "taken"}, ("'taken'",)),
    Row("CaptureData", "a malformed id", INVALID, "digits", {"capture_id": "a/b"}, ("'a/b'",)),
    Row("CaptureData", "no id", INVALID, "digits", {"input_tensors": [FULL]}, ("capture id",)),
    Row(
        "CaptureData",
        "a broken tensor",
        INVALID,
        "digits",
        {"capture_id": "b", "input_tensors": [{**FULL, "byte_data": b"abc"}]},
        ("'x'",),
    ),
    Row(
        "CaptureData",
        "a dead segment",
        INVALID,
        "digits",
        {"capture_id": "c", "input_tensors": [NO_SEGMENT]},
        ("2147483647",),
    ),
    Row(
        "CaptureData",
        "in the future",
        OUT_OF_RANGE,
        "digits",
        {"capture_id": "d", "inference_timestamp": {"seconds": 2**40}},
        ("inference_timestamp",),
    ),
    Row(
        "CaptureData",
        "before time began",
        INVALID,
        "digits",
        {"capture_id": "e", "inference_timestamp": {"seconds": -1}},
        ("inference_timestamp",),
    ),
    Row("CaptureData", "no such model", NOT_FOUND, "absent", {"capture_id": "f"}, ("'absent'",)),
    Row(
        "CaptureData",
        "larger than the spool",
        EXHAUSTED,
        "digits",
        {"capture_id": "g", "inputs": [{"byte_data": bytes(2**21)}]},
        ("CaptureSpoolMaxBytes",),
    ),
    Row("GetCaptureDataStatus", "it was accepted", OK, None, {"capture_id": "taken"}),
    Row("GetCaptureDataStatus", "it was not", NOT_FOUND, None, {"capture_id": "absent"}, ("'absent'",)),
]


#: Specification §4.2: the statuses of each RPC beyond OK, UNKNOWN and INTERNAL.
DOCUMENTED = {
    "Predict": {NOT_FOUND, INVALID},
    "LoadModel": {NOT_FOUND, EXISTS, EXHAUSTED, PRECONDITION, INVALID},
    "UnLoadModel": {NOT_FOUND},
    "ListModels": set(),
    "DescribeModel": {NOT_FOUND, INVALID},
    "CaptureData": {EXISTS, EXHAUSTED, OUT_OF_RANGE, INVALID, PRECONDITION, NOT_FOUND},
    "GetCaptureDataStatus": {NOT_FOUND},
}


class Client:
    """The process of one generation's client."""

    def __init__(self, name: str) -> None:
        self.generation: Generation = GENERATIONS[name]
        self._pipe: Connection[tuple[str, str, dict[str, Any]], tuple[str, str, Any]]
        self._pipe, theirs = multiprocessing.Pipe()
        with theirs:
            command = [sys.executable, "-m", "tests.agent.generations.client", name, str(theirs.fileno())]
            self._process = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()])
        self.modules: list[str] = self._receive(20)[2]

    def call(self, socket: Path, rpc: str, fields: dict[str, Any]) -> tuple[grpc.StatusCode, str, Any]:
        """Status, details and the answer's fields."""
        self._pipe.send((str(socket), rpc, fields))
        code, details, answer = self._receive(30)
        assert code in grpc.StatusCode.__members__, details
        return grpc.StatusCode[code], details, answer

    def close(self) -> None:
        self._pipe.close()
        try:
            assert self._process.wait(10) == 0
        finally:
            self._process.kill()

    def _receive(self, seconds: float) -> tuple[str, str, Any]:
        assert self._pipe.poll(seconds), "the client of this generation does not answer"
        return self._pipe.recv()


@pytest.fixture(scope="session")
def client_of() -> Iterator[Callable[[str], Client]]:
    """Each generation's client, started at its first need and kept."""
    clients: dict[str, Client] = {}
    with contextlib.ExitStack() as stack:

        def get(name: str) -> Client:
            if name not in clients:
                clients[name] = Client(name)
                stack.callback(clients[name].close)
            return clients[name]

        yield get


@pytest.fixture(scope="module", params=list(GENERATIONS))
def client(request: pytest.FixtureRequest, client_of: Callable[[str], Client]) -> Client:
    return client_of(request.param)


@dataclasses.dataclass(frozen=True)
class Served:
    """An agent with the model `digits` and the capture `taken`, and packages by what is special about them."""

    socket: Path
    places: dict[str, Path]


@pytest.fixture(scope="module")
def served(
    shared_agent_with: Callable[..., AgentProcess],
    model_bytes: dict[str, bytes],
    tmp_path_factory: pytest.TempPathFactory,
) -> Served:
    root = tmp_path_factory.mktemp("packages")
    files: dict[str, bytes] = {"model.onnx": model_bytes["matmul"], "labels.txt": b"a\nb\nc\n"}
    places = {name: root / name for name in ("package", "altered", "empty", "large")}
    for place in places.values():
        place.mkdir()
    for name in ("package", "altered"):
        write_directory(model_name="digits", model_version="1.0", files=dict(files), target=places[name])
    (places["altered"] / "labels.txt").write_bytes(b"a\nb\nX\n")
    write_directory(
        model_name="large", model_version="1.0", files={**files, "w.bin": bytes(1_500_000)}, target=places["large"]
    )
    places["file"] = root / "digits-1.0.tar.gz"
    paths = {name: places["package"] / name for name in files}
    build_package(model_name="digits", model_version="1.0", files=paths, target=places["file"])
    agent = shared_agent_with(ModelMemoryMaxBytes="1048576", CaptureSpoolMaxBytes="1048576")
    places["relative"] = Path(os.path.relpath(places["package"], agent.work))
    with agent.client() as own:
        own.load_model(str(places["package"]), "digits")
        own.capture_data("digits", "taken", {"x": X}, {})
    return Served(agent.socket, places)


@pytest.mark.usefixtures("transport")
def test_every_status_of_the_documentation_is_in_the_table() -> None:
    rows = {(row.rpc, row.code) for row in TABLE}
    documented = {(rpc, code) for rpc, codes in DOCUMENTED.items() for code in {*codes, OK}}
    # No field of DescribeModel can be wrong in this contract: only what is no message is invalid. The other one needs
    # an agent that is offline. Both have tests of their own below.
    assert documented - rows == {("DescribeModel", INVALID), ("CaptureData", PRECONDITION)}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.rpc}: {row.situation}")
def test_the_table(served: Served, client: Client, row: Row, request: pytest.FixtureRequest) -> None:
    fields = dict(row.fields)
    if "url" in fields:
        fields["url"] = fields["url"].format(**served.places)
    if fields.get("capture_id") == "{id}":
        fields["capture_id"] = f"id-{abs(hash(request.node.name))}-{time.monotonic_ns()}"
    generation = client.generation
    if row.model is not None:
        fields[generation.model_field(row.rpc)] = row.model
    if row.model == "spare":
        load = {"url": str(served.places["package"]), generation.model_field("LoadModel"): "spare"}
        assert client.call(served.socket, "LoadModel", load)[0] is OK
    code, details, answer = client.call(served.socket, row.rpc, fields)
    assert code is row.code, details
    assert all(word in details for word in row.words), details
    if code is OK:
        check(row, generation, answer, served.places)
    if row.rpc == "LoadModel" and code is OK:
        unload = {generation.model_field("UnLoadModel"): row.model}
        assert client.call(served.socket, "UnLoadModel", unload)[0] is OK


def check(row: Row, generation: Generation, answer: dict[str, Any], places: dict[str, Path]) -> None:
    """What an answer must hold, as each generation's client reads it."""

    def metadata(name: str, shape: list[int]) -> dict[str, Any]:
        written = name if generation.names == "string" else name.encode()
        return {"name": written, "data_type": FLOAT32, "shape": shape}

    if row.rpc == "Predict":
        (output,) = answer["tensors"]
        assert output["tensor_metadata"] == metadata("y", [1, 3])
        assert output["byte_data"] == Y.tobytes()
        assert output["shared_memory_handle"] is None
    elif row.rpc in {"LoadModel", "DescribeModel", "ListModels"}:
        model = answer["models"][0] if row.rpc == "ListModels" else answer["model"]
        name = row.model or "digits"
        assert model == {
            "url": (row.fields["url"] if row.rpc == "LoadModel" else "{package}").format(**places),
            "name": name,
            "input_tensor_metadatas": [metadata("x", [-1, 4])],
            "output_tensor_metadatas": [metadata("y", [-1, 3])],
            **({"handle": name} if generation.handles else {}),
        }
    elif row.rpc == "GetCaptureDataStatus":
        assert answer["status"] in {1, 2}  # success or in progress
    else:
        assert answer == {}


@pytest.mark.usefixtures("transport")
def test_each_process_has_the_messages_of_its_generation_alone(client: Client) -> None:
    # Of our own packages none, whose stubs would register the same names; by hand, none of protobuf either.
    assert client.modules == ([] if client.generation.by_hand else ["google.protobuf.descriptor_pool"])


def test_offline_in_strict_mode_a_capture_is_refused(
    agent: AgentProcess, s3: S3, package: Path, client: Client, eventually: Callable[..., None]
) -> None:
    s3.failing = True
    cloud: dict[str, Any] = {
        "CaptureDataDestination": "Cloud",
        "BucketName": "captures-sagemaker-test",
        "CaptureDataPushPeriodSeconds": "0.01",
    }
    model = {client.generation.model_field("CaptureData"): "digits"}

    def capture(capture_id: str) -> tuple[grpc.StatusCode, str]:
        return client.call(agent.socket, "CaptureData", {**model, "capture_id": capture_id})[:2]

    agent.start(**cloud, CaptureDataStrictOffline="true")
    with agent.client() as own:
        own.load_model(str(package), "digits")
    eventually(lambda: capture(f"{time.monotonic_ns()}")[0] is PRECONDITION)
    code, details = capture("offline")
    assert code is PRECONDITION
    assert "'offline'" in details
    assert "CaptureDataStrictOffline" in details


def call(socket: Path, rpc: str, message: bytes) -> tuple[grpc.StatusCode, bytes, str]:
    """Send bytes as they are."""
    with grpc.insecure_channel(f"unix://{socket}") as channel:
        method: Any = channel.unary_unary(f"/AWS.SageMaker.Edge.Agent/{rpc}")
        try:
            return OK, method(message, timeout=20), ""
        except grpc.RpcError as error:
            failed: Any = error
            return failed.code(), b"", failed.details()


@pytest.mark.parametrize("rpc", list(DOCUMENTED))
@pytest.mark.parametrize(
    "message",
    [b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x0b" * 100_000, b"\x00" * 1000, b"\x0e\x00"],
    ids=["a cut tag", "a length beyond the end", "nested groups", "zeros", "a wire type that does not exist"],
)
def test_what_is_no_message_is_invalid(served: Served, rpc: str, message: bytes) -> None:
    code, _, details = call(served.socket, rpc, message)
    assert code is INVALID
    assert f"no {rpc} request" in details


def test_an_rpc_that_is_none_is_unimplemented(served: Served) -> None:
    assert call(served.socket, "Ping", b"")[0] is grpc.StatusCode.UNIMPLEMENTED


def test_unknown_fields_are_stepped_over(served: Served) -> None:
    messages = GENERATIONS["by-hand"].messages
    message = by_hand.encode(messages, "PredictRequest", {"handle": "digits", "tensors": [FULL]})
    unknown = b"\xa0\x06\x01" + b"\xaa\x06\x02ab" + b"\xad\x06abcd" + b"\xa9\x06abcdefgh" + b"\xab\x06\xac\x06"
    code, answer, _ = call(served.socket, "Predict", unknown + message + unknown)
    assert code is OK
    assert by_hand.decode(messages, "PredictResponse", answer)["tensors"][0]["byte_data"] == Y.tobytes()
