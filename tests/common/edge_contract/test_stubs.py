# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from edge_contract import agent_pb2

COMMON = Path(__file__).parents[3] / "component_src/common"
STUBS = ("agent_pb2.py", "agent_pb2.pyi", "agent_pb2_grpc.py")


def test_the_stubs_are_what_the_proto_generates(tmp_path: Path) -> None:
    out = [f"--{kind}={tmp_path}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(COMMON), *out, "edge_contract/agent.proto"]
    subprocess.run(command, check=True, timeout=60)
    for stub in STUBS:
        generated = (tmp_path / "edge_contract" / stub).read_text()
        assert (COMMON / "edge_contract" / stub).read_text() == generated, f"run `make stubs`: {stub} is out of date"


def test_the_method_paths_are_those_of_edge_manager() -> None:
    service = agent_pb2.DESCRIPTOR.services_by_name["Agent"]
    assert service.full_name == "AWS.SageMaker.Edge.Agent"
    assert [method.name for method in service.methods] == [
        "Predict",
        "LoadModel",
        "UnLoadModel",
        "ListModels",
        "DescribeModel",
        "CaptureData",
        "GetCaptureDataStatus",
    ]


# The field numbers of the oldest generation of clients, as documented; a test of its own, not derived from our proto.
Field = descriptor_pb2.FieldDescriptorProto
STRING, BYTES, INT32 = Field.TYPE_STRING, Field.TYPE_BYTES, Field.TYPE_INT32
OLDEST: dict[str, list[tuple[str, int, Field.Type.ValueType | str]]] = {
    "TensorMetadata": [("name", 1, STRING), ("data_type", 2, INT32), ("shape", 3, INT32)],
    "Tensor": [("tensor_metadata", 1, "TensorMetadata"), ("byte_data", 4, BYTES)],
    "PredictRequest": [("name", 1, STRING), ("tensors", 2, "Tensor")],
    "CaptureDataRequest": [("model_name", 1, STRING), ("capture_id", 2, STRING), ("input_tensors", 4, "Tensor")],
}
REPEATED = {"shape", "tensors", "input_tensors"}


@pytest.fixture(scope="module")
def oldest() -> dict[str, type]:
    file = descriptor_pb2.FileDescriptorProto(name="oldest.proto", package="oldest", syntax="proto3")
    for name, fields in OLDEST.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            entry = message.field.add(
                name=field, number=number, label=Field.LABEL_REPEATED if field in REPEATED else Field.LABEL_OPTIONAL
            )
            if isinstance(kind, str):
                entry.type, entry.type_name = Field.TYPE_MESSAGE, f".oldest.{kind}"
            else:
                entry.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())  # type: ignore[no-untyped-call] # published so
    messages = pool.FindFileByName(file.name).message_types_by_name  # type: ignore[no-untyped-call] # published so
    return {name: message_factory.GetMessageClass(messages[name]) for name in OLDEST}


def test_what_the_oldest_clients_send_is_read(oldest: dict[str, type]) -> None:
    metadata = oldest["TensorMetadata"](name="x", data_type=5, shape=[1, 2])
    tensor = oldest["Tensor"](tensor_metadata=metadata, byte_data=b"12345678")
    predict = agent_pb2.PredictRequest.FromString(
        oldest["PredictRequest"](name="digits", tensors=[tensor]).SerializeToString()
    )
    assert (predict.name, predict.handle) == ("digits", "")
    assert predict.tensors[0].tensor_metadata.name == b"x"
    assert predict.tensors[0].tensor_metadata.data_type == agent_pb2.FLOAT32
    assert list(predict.tensors[0].tensor_metadata.shape) == [1, 2]
    assert predict.tensors[0].byte_data == b"12345678"
    capture = agent_pb2.CaptureDataRequest.FromString(
        oldest["CaptureDataRequest"](model_name="digits", capture_id="c", input_tensors=[tensor]).SerializeToString()
    )
    assert (capture.model_name, capture.capture_id, len(capture.input_tensors)) == ("digits", "c", 1)


def test_the_field_numbers_of_handles_are_those_of_the_newest_generation() -> None:
    messages = agent_pb2.DESCRIPTOR.message_types_by_name
    assert {
        name: messages[name].fields_by_name["handle"].number
        for name in ("Model", "PredictRequest", "LoadModelRequest", "UnLoadModelRequest", "DescribeModelRequest")
    } == {"Model": 5, "PredictRequest": 3, "LoadModelRequest": 3, "UnLoadModelRequest": 2, "DescribeModelRequest": 2}
    assert messages["CaptureDataRequest"].fields_by_name["model_handle"].number == 8
