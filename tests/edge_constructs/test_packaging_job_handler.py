# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from edge_constructs import packaging_job_handler as handler
from edge_constructs.handler_kernel import ResourceError
from edge_package import MANIFEST_NAME, make_manifest, read_package

FILES = {"model.onnx": b"weights", "labels.txt": b"0\n1\n"}
DIGEST = make_manifest(model_name="digits", model_version="1.0", files=FILES).digest
SOURCE, PACKAGE = "assets/abc.zip", "artifacts/models/digits-1.0.tar.gz"


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def event(type_: str = "Create", **changes: Any) -> dict[str, Any]:
    properties = {
        "ServiceToken": "arn:aws:lambda:us-east-1:111122223333:function:f",
        "JobName": "digits-1-0",
        "ModelName": "digits",
        "ModelVersion": "1.0",
        "ModelDigest": DIGEST,
        "Files": list(FILES),
        "SourceBucket": "assets",
        "SourceKey": "abc.zip",
        "OutputBucket": "artifacts",
        "OutputKey": "models/digits-1.0.tar.gz",
    }
    request = {"RequestType": type_, "LogicalResourceId": "Job", "ResourceProperties": {**properties, **changes}}
    return (
        request
        if type_ == "Create"
        else {**request, "PhysicalResourceId": "digits-1-0-abc", "OldResourceProperties": properties}
    )


@pytest.fixture(autouse=True)
def s3(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    bucket.objects[SOURCE] = zipped(FILES)
    job = handler.EdgePackagingJob(bucket.client)
    monkeypatch.setattr(handler, "_handler", lambda: job)
    return bucket


def test_create_writes_a_package_that_a_device_verifies(s3: Any, tmp_path: Path) -> None:
    created = handler.on_event(event(), None)
    assert created["PhysicalResourceId"].startswith("digits-1-0-")
    with tarfile.open(fileobj=io.BytesIO(s3.objects[PACKAGE])) as tar:
        assert tar.getnames() == ["labels.txt", "model.onnx", MANIFEST_NAME]
        tar.extractall(tmp_path, filter="data")
    package = read_package(tmp_path)
    assert package.contents == FILES
    assert package.manifest.digest == DIGEST
    assert handler.is_complete(event(), None) == {
        "IsComplete": True,
        "Data": {
            "EdgePackagingJobStatus": "COMPLETED",
            "ModelArtifact": "s3://artifacts/models/digits-1.0.tar.gz",
            "ModelDigest": DIGEST,
            "PackageSha256": hashlib.sha256(s3.objects[PACKAGE]).hexdigest(),
        },
    }


@pytest.mark.parametrize("type_", ["Create", "Update"])
def test_the_same_request_again_writes_nothing_and_has_the_same_id(type_: str, s3: Any) -> None:
    first = handler.on_event(event(), None)
    assert handler.on_event(event(type_), None) == first
    assert s3.written == [PACKAGE]


def test_other_properties_are_another_resource() -> None:
    first = handler.on_event(event(), None)
    second = handler.on_event(event("Update", OutputKey="models/elsewhere.tar.gz"), None)
    assert first["PhysicalResourceId"] != second["PhysicalResourceId"]


def test_delete_keeps_the_package_and_may_come_alone(s3: Any) -> None:
    assert handler.on_event(event("Delete"), None) == {"PhysicalResourceId": "digits-1-0-abc"}
    handler.on_event(event(), None)
    handler.on_event(event("Delete"), None)
    assert handler.is_complete(event("Delete"), None) == {"IsComplete": True}
    assert PACKAGE in s3.objects


def test_a_delete_after_a_failed_create_changes_nothing() -> None:
    request = event("Delete")
    del request["PhysicalResourceId"]
    assert handler.on_event(request, None) == {"PhysicalResourceId": "never-created"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (b"no zip at all", "cannot be packaged"),
        (zipped({"model.onnx": b"weights"}), "labels.txt expected in it"),
        (zipped({**FILES, "model.onnx": b"others"}), "packages to model digest"),
    ],
)
def test_a_source_that_is_not_the_synthesised_one_fails_by_name(source: bytes, expected: str, s3: Any) -> None:
    s3.objects[SOURCE] = source
    with pytest.raises(ResourceError, match=expected):
        handler.on_event(event(), None)
    assert s3.written == []


def test_another_package_under_the_key_is_never_overwritten(s3: Any) -> None:
    s3.objects[PACKAGE] = b"another"
    with pytest.raises(ResourceError, match="never overwritten"):
        handler.on_event(event(), None)
    assert s3.objects[PACKAGE] == b"another"


def test_a_package_that_went_is_said_to_be_gone() -> None:
    with pytest.raises(ResourceError, match="is gone"):
        handler.is_complete(event(), None)


@pytest.mark.parametrize("name", ["JobName", "ModelDigest", "OutputBucket", "Files"])
def test_a_missing_property_is_named(name: str) -> None:
    request = event()
    del request["ResourceProperties"][name]
    with pytest.raises(ResourceError, match=name):
        handler.on_event(request, None)


def test_a_bad_model_version_fails_with_the_rule() -> None:
    with pytest.raises(ResourceError, match="model version must be"):
        handler.on_event(event(ModelVersion="1-0"), None)
