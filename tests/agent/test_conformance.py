# SPDX-License-Identifier: Apache-2.0
"""The contract as a table: RPC, situation, status and words, asked by stubs of each generation and by bytes alone.

The messages of the generations are declared here from the documentation, not taken from our ``agent.proto``, and each
generation has a descriptor pool of its own, as a process of its own would.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from edge_agent.transport import GRPCIO, HTTP2
from edge_package import write_directory
from edge_package.package_stream import build_package

if TYPE_CHECKING:
    from tests.agent.conftest import S3, AgentProcess

pytestmark = pytest.mark.parametrize("transport", [HTTP2, GRPCIO], indirect=True, scope="module")

Kind = descriptor_pb2.FieldDescriptorProto
STRING, BYTES, ENUM, INT32 = Kind.TYPE_STRING, Kind.TYPE_BYTES, Kind.TYPE_INT32, Kind.TYPE_INT32
UINT64, INT64 = Kind.TYPE_UINT64, Kind.TYPE_INT64
Declaration = dict[str, dict[str, tuple[int, Any]]]  # message -> field -> number and type, or a message's name

#: What all generations have; a star stands for repeated.
COMMON: Declaration = {
    "SharedMemoryHandle": {"size": (1, UINT64), "offset": (2, UINT64), "segment_id": (3, UINT64)},
    "TensorMetadata": {"name": (1, BYTES), "data_type": (2, ENUM), "shape*": (3, INT32)},
    "Tensor": {
        "tensor_metadata": (1, "TensorMetadata"),
        "byte_data": (4, BYTES),
        "shared_memory_handle": (5, "SharedMemoryHandle"),
    },
    "AuxiliaryData": {"name": (1, STRING), "encoding": (2, ENUM), "byte_data": (3, BYTES)},
    "Timestamp": {"seconds": (1, INT64), "nanos": (2, INT32)},
    "Model": {
        "url": (1, STRING),
        "name": (2, STRING),
        "input_tensor_metadatas*": (3, "TensorMetadata"),
        "output_tensor_metadatas*": (4, "TensorMetadata"),
    },
    "PredictRequest": {"name": (1, STRING), "tensors*": (2, "Tensor")},
    "PredictResponse": {"tensors*": (1, "Tensor")},
    "LoadModelRequest": {"url": (1, STRING), "name": (2, STRING)},
    "LoadModelResponse": {"model": (1, "Model")},
    "UnLoadModelRequest": {"name": (1, STRING)},
    "UnLoadModelResponse": {},
    "ListModelsRequest": {},
    "ListModelsResponse": {"models*": (1, "Model")},
    "DescribeModelRequest": {"name": (1, STRING)},
    "DescribeModelResponse": {"model": (1, "Model")},
    "CaptureDataRequest": {
        "model_name": (1, STRING),
        "capture_id": (2, STRING),
        "inference_timestamp": (3, "Timestamp"),
        "input_tensors*": (4, "Tensor"),
        "output_tensors*": (5, "Tensor"),
        "inputs*": (6, "AuxiliaryData"),
        "outputs*": (7, "AuxiliaryData"),
    },
    "CaptureDataResponse": {},
    "GetCaptureDataStatusRequest": {"capture_id": (1, STRING)},
    "GetCaptureDataStatusResponse": {"status": (1, ENUM)},
}
HANDLES = {
    "Model": 5,
    "PredictRequest": 3,
    "LoadModelRequest": 3,
    "UnLoadModelRequest": 2,
    "DescribeModelRequest": 2,
}


def declare(*, names: Any, handles: bool) -> Declaration:
    messages = {name: dict(fields) for name, fields in COMMON.items()}
    messages["TensorMetadata"]["name"] = (1, names)
    if handles:
        for message, number in HANDLES.items():
            messages[message]["handle"] = (number, STRING)
        messages["CaptureDataRequest"]["model_handle"] = (8, STRING)
    return messages


class Stubs:
    """A generation's messages, made at run time."""

    def __init__(self, declaration: Declaration, *, handles: bool) -> None:
        self.handles = handles
        file = descriptor_pb2.FileDescriptorProto(name="agent.proto", package="AWS.SageMaker.Edge", syntax="proto3")
        for name, fields in declaration.items():
            message = file.message_type.add(name=name)
            for field, (number, kind) in fields.items():
                label = Kind.LABEL_REPEATED if field.endswith("*") else Kind.LABEL_OPTIONAL
                entry = message.field.add(name=field.rstrip("*"), number=number, label=label)
                if isinstance(kind, str):
                    entry.type, entry.type_name = Kind.TYPE_MESSAGE, f".AWS.SageMaker.Edge.{kind}"
                else:
                    entry.type = kind
        pool = descriptor_pool.DescriptorPool()
        pool.AddSerializedFile(file.SerializeToString())  # type: ignore[no-untyped-call] # published so
        types = pool.FindFileByName(file.name).message_types_by_name  # type: ignore[no-untyped-call] # published so
        self._classes = {name: message_factory.GetMessageClass(types[name]) for name in declaration}

    def request(self, rpc: str, fields: dict[str, Any]) -> bytes:
        message: bytes = self._classes[f"{rpc}Request"](**fields).SerializeToString()
        return message

    def response(self, rpc: str, message: bytes) -> Any:
        return self._classes[f"{rpc}Response"].FromString(message)


class ByHand(Stubs):
    """No stubs at all for requests: each field's bytes from its number."""

    def request(self, rpc: str, fields: dict[str, Any]) -> bytes:
        return self._message(f"{rpc}Request", fields)

    def _message(self, name: str, fields: dict[str, Any]) -> bytes:
        declared = {field.rstrip("*"): entry for field, entry in declare(names=BYTES, handles=True)[name].items()}
        return b"".join(
            self._field(*declared[field], one)
            for field, value in fields.items()
            for one in (value if isinstance(value, list) else [value])
        )

    def _field(self, number: int, kind: Any, value: Any) -> bytes:
        if isinstance(value, int):
            return self._varint(number << 3) + self._varint(value)
        payload = self._message(kind, value) if isinstance(value, dict) else value
        payload = payload.encode() if isinstance(payload, str) else payload
        return self._varint(number << 3 | 2) + self._varint(len(payload)) + payload

    @staticmethod
    def _varint(value: int) -> bytes:
        value &= 2**64 - 1
        encoded = b""
        while value >= 0x80:
            encoded += bytes([value & 0x7F | 0x80])
            value >>= 7
        return encoded + bytes([value])


GENERATIONS: dict[str, Callable[[], Stubs]] = {
    "2021-03": lambda: Stubs(declare(names=STRING, handles=False), handles=False),
    "2021-08": lambda: Stubs(declare(names=BYTES, handles=False), handles=False),
    "2022-08": lambda: Stubs(declare(names=BYTES, handles=True), handles=True),
    "by-hand": lambda: ByHand(declare(names=BYTES, handles=True), handles=True),
}

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


@pytest.fixture(scope="module")
def channel(
    shared_agent_with: Callable[..., AgentProcess],
    model_bytes: dict[str, bytes],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[grpc.Channel, dict[str, Path]]]:
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
    with agent.client() as client, grpc.insecure_channel(f"unix://{agent.socket}") as open_channel:
        client.load_model(str(places["package"]), "digits")
        client.capture_data("digits", "taken", {"x": X}, {})
        yield open_channel, places


@pytest.fixture(scope="module", params=list(GENERATIONS))
def stubs(request: pytest.FixtureRequest) -> Stubs:
    return GENERATIONS[request.param]()


def call(channel: grpc.Channel, rpc: str, message: bytes) -> tuple[grpc.StatusCode, bytes, str]:
    method: Any = channel.unary_unary(f"/AWS.SageMaker.Edge.Agent/{rpc}")
    try:
        return OK, method(message, timeout=20), ""
    except grpc.RpcError as error:
        failed: Any = error
        return failed.code(), b"", failed.details()


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.rpc}: {row.situation}")
def test_the_table(
    channel: tuple[grpc.Channel, dict[str, Path]], stubs: Stubs, row: Row, request: pytest.FixtureRequest
) -> None:
    open_channel, places = channel
    fields = dict(row.fields)
    if "url" in fields:
        fields["url"] = fields["url"].format(**places)
    if fields.get("capture_id") == "{id}":
        fields["capture_id"] = f"id-{abs(hash(request.node.name))}-{time.monotonic_ns()}"
    if row.model is not None:
        name = {"CaptureData": "model_name"}.get(row.rpc, "name")
        handle = {"CaptureData": "model_handle"}.get(row.rpc, "handle")
        fields[handle if stubs.handles else name] = row.model
    load = {"url": str(places["package"]), "handle" if stubs.handles else "name": "spare"}
    if row.model == "spare":
        assert call(open_channel, "LoadModel", stubs.request("LoadModel", load))[0] is OK
    code, message, details = call(open_channel, row.rpc, stubs.request(row.rpc, fields))
    assert code is row.code, details
    assert all(word in details for word in row.words), details
    if code is OK:
        check(row, stubs, stubs.response(row.rpc, message), places)
    if row.rpc == "LoadModel" and code is OK:
        unload = {"handle" if stubs.handles else "name": row.model}
        assert call(open_channel, "UnLoadModel", stubs.request("UnLoadModel", unload))[0] is OK


def check(row: Row, stubs: Stubs, response: Any, places: dict[str, Path]) -> None:
    """What an answer must hold, as each generation's client reads it."""
    if row.rpc == "Predict":
        (output,) = response.tensors
        metadata = output.tensor_metadata
        assert metadata.name in {b"y", "y"}
        assert (metadata.data_type, list(metadata.shape)) == (FLOAT32, [1, 3])
        assert output.byte_data == Y.tobytes()
    elif row.rpc in {"LoadModel", "DescribeModel", "ListModels"}:
        model = response.models[0] if row.rpc == "ListModels" else response.model
        assert model.url == (row.fields["url"] if row.rpc == "LoadModel" else "{package}").format(**places)
        assert model.name == (row.model or "digits")
        assert not stubs.handles or model.handle == model.name
        (given,), (result,) = model.input_tensor_metadatas, model.output_tensor_metadatas
        assert (given.name, given.data_type, list(given.shape)) == (type(given.name)(given.name), FLOAT32, [-1, 4])
        assert (result.data_type, list(result.shape)) == (FLOAT32, [-1, 3])
    elif row.rpc == "GetCaptureDataStatus":
        assert response.status in {1, 2}  # success or in progress


def test_offline_in_strict_mode_a_capture_is_refused(
    agent: AgentProcess, s3: S3, package: Path, stubs: Stubs, eventually: Callable[..., None]
) -> None:
    s3.failing = True
    agent.start(
        CaptureDataDestination="Cloud",
        BucketName="captures-sagemaker-test",
        CaptureDataStrictOffline="true",
        CaptureDataPushPeriodSeconds="0.01",
    )
    with agent.client() as client, grpc.insecure_channel(f"unix://{agent.socket}") as open_channel:
        client.load_model(str(package), "digits")

        def capture(capture_id: str) -> tuple[grpc.StatusCode, bytes, str]:
            model = {"model_handle" if stubs.handles else "model_name": "digits"}
            return call(open_channel, "CaptureData", stubs.request("CaptureData", {**model, "capture_id": capture_id}))

        assert capture("before-anybody-knew")[0] is OK
        eventually(lambda: capture(f"{time.monotonic_ns()}")[0] is PRECONDITION)
        code, _, details = capture("offline")
        assert code is PRECONDITION
        assert "'offline'" in details
        assert "CaptureDataStrictOffline" in details


RPCS = ["Predict", "LoadModel", "UnLoadModel", "DescribeModel", "CaptureData", "GetCaptureDataStatus", "ListModels"]


@pytest.mark.parametrize("rpc", RPCS)
@pytest.mark.parametrize(
    "message",
    [b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x0b" * 100_000, b"\x00" * 1000, b"\x0e\x00"],
    ids=["a cut tag", "a length beyond the end", "nested groups", "zeros", "a wire type that does not exist"],
)
def test_what_is_no_message_is_invalid(channel: tuple[grpc.Channel, dict[str, Path]], rpc: str, message: bytes) -> None:
    code, _, details = call(channel[0], rpc, message)
    assert code is INVALID
    assert f"no {rpc} request" in details


def test_an_rpc_that_is_none_is_unimplemented(channel: tuple[grpc.Channel, dict[str, Path]]) -> None:
    assert call(channel[0], "Ping", b"")[0] is grpc.StatusCode.UNIMPLEMENTED


def test_unknown_fields_are_stepped_over(channel: tuple[grpc.Channel, dict[str, Path]]) -> None:
    stubs = GENERATIONS["2022-08"]()
    message = stubs.request("Predict", {"handle": "digits", "tensors": [FULL]})
    unknown = b"\xa0\x06\x01" + b"\xaa\x06\x02ab" + b"\xad\x06abcd" + b"\xa9\x06abcdefgh" + b"\xab\x06\xac\x06"
    code, answer, _ = call(channel[0], "Predict", unknown + message + unknown)
    assert code is OK
    assert stubs.response("Predict", answer).tensors[0].byte_data == Y.tobytes()
