# SPDX-License-Identifier: Apache-2.0
"""The tree of files that a capture leaves at its destination, held against the files in golden/."""

from __future__ import annotations

import types
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from edge_agent import requests, settings
from edge_agent.captures.history import Status
from edge_agent.captures.intake import Captures
from edge_agent.metrics import Metrics
from edge_agent.models import LoadedModel
from edge_agent.shared_memory import Reading
from edge_contract import agent_pb2

if TYPE_CHECKING:
    from edge_agent.engines import Engine

GOLDEN = Path(__file__).parent / "golden"
UUID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
NOW = 1_700_003_599.9  # 2023-11-14T23:13:19Z and a part of a second
ONES = {
    "UINT8": b"\1",
    "INT16": b"\1\0",
    "INT32": b"\1\0\0\0",
    "INT64": b"\1\0\0\0\0\0\0\0",
    "FLOAT16": b"\0\x3c",
    "FLOAT32": b"\0\0\x80\x3f",
    "FLOAT64": b"\0\0\0\0\0\0\xf0\x3f",
}


def tensor(name: str, data_type: Any, shape: list[int], data: bytes) -> agent_pb2.Tensor:
    metadata = agent_pb2.TensorMetadata(name=name.encode(), data_type=data_type, shape=shape)
    return agent_pb2.Tensor(tensor_metadata=metadata, byte_data=data)


def auxiliary(name: str, encoding: Any, data: bytes) -> agent_pb2.AuxiliaryData:
    return agent_pb2.AuxiliaryData(name=name, encoding=encoding, byte_data=data)


SEVERAL: dict[str, Any] = {
    "input_tensors": [tensor("x", "UINT8", [1, 5], b"12345")],
    "output_tensors": [
        tensor("score", "FLOAT32", [1, 1], ONES["FLOAT32"]),
        tensor("y/0", "UINT8", [5], b"67890"),
    ],
}
SITUATIONS: dict[str, dict[str, Any]] = {
    "embedded": {"input_tensors": [tensor(name, name, [1], data) for name, data in ONES.items()]},
    "disk": SEVERAL,
    "cloud": SEVERAL,
    "auxiliary": {
        "inputs": [auxiliary("jpg", "NONE", b"\xff\xd8\xff"), auxiliary("csv", "CSV", b"1,2")],
        "outputs": [auxiliary("json", "JSON", b'{"'), auxiliary("mask.png", "BASE64", b"/9j/")],
    },
}


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_capture_leaves_exactly_these_files(
    situation: str, tmp_path: Path, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=1))
    monkeypatch.setattr(requests, "time", types.SimpleNamespace(time=lambda: NOW))
    parameters = {
        "DeviceFleetName": "dev-fleet",
        "BucketName": "captures-sagemaker-test",
        "FolderPrefix": "sme-capture",
        "CaptureDataDestination": "Cloud" if situation == "cloud" else "Disk",
        "CaptureDataBase64EmbedLimit": "4" if situation in {"disk", "cloud"} else "3072",
    }
    captures = Captures(
        tmp_path / "spool", settings.parse(parameters, device_name="dev-device-1", work=tmp_path), Metrics()
    )
    # The requests describe their tensors whole: nothing is asked of the model but its name and version.
    session = cast("Engine", types.SimpleNamespace(inputs=(), outputs=()))
    model = LoadedModel("handle", "file:///m", "digits", "1.0", "", 0, "", session)
    request = agent_pb2.CaptureDataRequest(model_name="handle", capture_id=UUID, **SITUATIONS[situation])
    captures.add(requests.to_capture(request, model, memory=cast("Reading", None)), handle="handle")
    captures.start()
    captures.stop(30)
    assert captures.status(UUID) is Status.SUCCESS
    disk = tmp_path / "capture"
    found = s3.objects if situation == "cloud" else tree(disk)
    found = {key: content.replace(str(disk).encode(), b"/disk") for key, content in found.items()}
    assert found == tree(GOLDEN / situation)
