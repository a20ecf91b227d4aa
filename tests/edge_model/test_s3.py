# SPDX-License-Identifier: Apache-2.0
"""Packages in S3 and keys in KMS: through boto3, on the embedded AWS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_constructs.handler_kernel import Request
from edge_constructs.packaging_job_handler import EdgePackagingJob
from edge_package import Signature
from local.aws.server import EmbeddedAws

BUCKET = "edge-models"


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedAws]:
    directory = tmp_path_factory.mktemp("aws")
    with EmbeddedAws.start(directory=directory, account="111122223333", region="us-east-1") as aws:
        aws.client("s3").create_bucket(Bucket=BUCKET)
        yield aws


@pytest.fixture(autouse=True)
def credentials(aws: EmbeddedAws, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in aws.environment().items():
        monkeypatch.setenv(name, value)


def test_a_folder_in_s3_becomes_a_signed_package_in_s3(
    aws: EmbeddedAws, digits: Path, edge_model: Any, tmp_path: Path
) -> None:
    s3, kms = aws.client("s3"), aws.client("kms")
    for path in digits.rglob("*"):
        if path.is_file():
            s3.upload_file(str(path), BUCKET, f"sources/digits/{path.relative_to(digits).as_posix()}")
    source, target = f"s3://{BUCKET}/sources/digits/", f"s3://{BUCKET}/packages/digits-1.0.tar.gz"
    assert edge_model("validate", source)[0] == 0
    code, out, err = edge_model("package", source, "--output", f"s3://{BUCKET}/packages/")
    assert (code, err) == (0, "")
    assert f"{target}: written" in out
    assert "there already, the same bytes" in edge_model("package", source, "--output", f"s3://{BUCKET}/packages/")[1]
    assert edge_model("package", digits, "--output", tmp_path)[0] == 0
    body = s3.get_object(Bucket=BUCKET, Key="packages/digits-1.0.tar.gz")["Body"].read()
    assert body == (tmp_path / "digits-1.0.tar.gz").read_bytes()

    key = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]
    code, out, err = edge_model("sign", target, "--kms-key", key["KeyId"])
    assert (code, err) == (0, "")
    document = s3.get_object(Bucket=BUCKET, Key="packages/digits-1.0.tar.gz.sig")["Body"].read()
    signature = Signature.parse(document, source="s3")
    verified = kms.verify(
        KeyId=key["KeyId"],
        Message=bytes.fromhex(signature.manifest_sha256),
        MessageType="DIGEST",
        Signature=signature.value,
        SigningAlgorithm="ECDSA_SHA_256",
    )
    assert verified["SignatureValid"]
    assert f"signature  by {signature.key_id}" in edge_model("inspect", target)[1]
    assert edge_model("verify", target)[0] == 0


def test_the_packaging_jobs_own_package_is_recognised(aws: EmbeddedAws, digits: Path, edge_model: Any) -> None:
    s3, kms = aws.client("s3"), aws.client("kms")
    key = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    for name in ("model.onnx", "labels.txt"):
        s3.upload_file(str(digits / name), BUCKET, f"job/source/{name}")
    properties = {
        "EdgePackagingJobName": "digits-1-0",
        "ModelName": "digits",
        "ModelVersion": "1.0",
        "ModelSource": f"s3://{BUCKET}/job/source/",
        "ModelArtifact": f"s3://{BUCKET}/job/digits-1.0.tar.gz",
        "SigningKeys": [key],
    }
    EdgePackagingJob(s3, kms).apply(Request(type_="Create", properties=properties))
    code, out, err = edge_model("package", digits, "--output", f"s3://{BUCKET}/job/")
    assert (code, err) == (0, "")
    assert "there already, the same bytes" in out

    # A package of several parts has no checksum of its whole.
    place: dict[str, Any] = {"Bucket": BUCKET, "Key": "parts/digits-1.0.tar.gz"}
    body = s3.get_object(Bucket=BUCKET, Key="job/digits-1.0.tar.gz")["Body"].read()
    upload = s3.create_multipart_upload(**place)["UploadId"]
    part = s3.upload_part(**place, UploadId=upload, PartNumber=1, Body=body)
    parts = [{"PartNumber": 1, "ETag": part["ETag"]}]
    s3.complete_multipart_upload(**place, UploadId=upload, MultipartUpload={"Parts": parts})
    assert "the same bytes" in edge_model("package", digits, "--output", f"s3://{BUCKET}/parts/")[1]
    s3.put_object(**place, Body=body[:-1] + b"\xff")
    code, _, err = edge_model("package", digits, "--output", f"s3://{BUCKET}/parts/")
    assert code == 1
    assert "expected nothing there, or the same bytes" in err


def test_other_bytes_under_the_same_key_are_refused(aws: EmbeddedAws, digits: Path, edge_model: Any) -> None:
    s3 = aws.client("s3")
    s3.put_object(Bucket=BUCKET, Key="taken/digits-1.0.tar.gz", Body=b"others", ChecksumAlgorithm="SHA256")
    code, _, err = edge_model("package", digits, "--output", f"s3://{BUCKET}/taken")
    assert code == 1
    assert "raise the model's version" in err
    assert s3.get_object(Bucket=BUCKET, Key="taken/digits-1.0.tar.gz")["Body"].read() == b"others"


def test_what_is_not_there_is_refused_by_name(edge_model: Any, digits: Path, tmp_path: Path) -> None:
    for location in (f"s3://{BUCKET}/nothing/", f"s3://{BUCKET}/nothing.tar.gz", "s3://no-such-bucket/x.tar.gz"):
        code, _, err = edge_model("inspect", location)
        assert code == 1
        assert location in err
    edge_model("package", digits, "--output", tmp_path)
    code, _, err = edge_model("sign", tmp_path / "digits-1.0.tar.gz", "--kms-key", "alias/absent")
    assert code == 1
    assert "alias/absent: expected a KMS key of ECC_NIST_P256" in err
    assert not (tmp_path / "digits-1.0.tar.gz.sig").exists()


def test_a_key_that_leaves_the_folder_is_refused(aws: EmbeddedAws, edge_model: Any) -> None:
    aws.client("s3").put_object(Bucket=BUCKET, Key="evil/../../escaped", Body=b"x")
    code, _, err = edge_model("inspect", f"s3://{BUCKET}/evil/")
    assert code == 1
    assert "expected names that stay in the folder" in err
