# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import datetime as dt
import functools
import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from awscrt.crypto import EC, ECExportFormat, ECType
from botocore.config import Config
from botocore.validate import validate_parameters

from edge_constructs import compilation_job_handler, sagemaker_packaging_handler

Operation = Callable[[Mapping[str, Any]], dict[str, Any]]


class ServiceError(Exception):
    """What an operation of a fake raises to answer with an error."""

    def __init__(self, code: str, status: int, message: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.status = status
        self.message = message


@functools.cache
def _session() -> Any:
    """One for all, as it keeps the service models that it read."""
    return boto3.session.Session()


def client_of(service: str, operations: Mapping[str, Operation]) -> Any:
    """A real boto3 client whose calls end in memory: botocore checks requests and answers against its service model."""
    client = _session().client(
        service,
        region_name="us-east-1",
        aws_access_key_id="unused",
        aws_secret_access_key="unused",  # noqa: S106 -- there is no service
        config=Config(retries={"total_max_attempts": 1}),
    )

    def remember(params: Mapping[str, Any], context: dict[str, Any], **_: Any) -> None:
        context["asked"] = dict(params)

    def answer(model: Any, context: Mapping[str, Any], **_: Any) -> tuple[Any, dict[str, Any]]:
        if model.name not in operations:
            raise AssertionError(f"{service}:{model.name} is not expected here")
        try:
            response = operations[model.name](context["asked"])
        except ServiceError as error:
            return SimpleNamespace(status_code=error.status), {"Error": {"Code": error.code, "Message": error.message}}
        if model.output_shape is not None:
            validate_parameters(response, model.output_shape)
        return SimpleNamespace(status_code=200), response

    client.meta.events.register_first(f"before-parameter-build.{service}", remember)
    client.meta.events.register(f"before-call.{service}", answer)
    return client


@dataclass
class Bucket:
    """Objects in memory by `bucket/key`.

    `written` lists the keys that appeared, `largest` is the most bytes that one request brought, `before_write` runs
    before an object appears, `body` makes the stream that GetObject answers.
    """

    objects: dict[str, bytes] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    largest: int = 0
    page: int = 1000
    before_write: Callable[[str], None] = lambda _name: None
    body: Callable[[bytes], Any] = io.BytesIO

    @property
    def client(self) -> Any:
        operations = {
            "GetObject": self._get,
            "HeadObject": self._head,
            "ListObjectsV2": self._list,
            "PutObject": self._put,
            "CreateMultipartUpload": self._begin,
            "UploadPart": self._part,
            "CompleteMultipartUpload": self._complete,
            "AbortMultipartUpload": self._abort,
        }
        return client_of("s3", operations)

    def _get(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        content = self._content(asked)
        if asked.get("IfMatch") not in {None, _etag(content)}:
            raise ServiceError("PreconditionFailed", 412)
        start = int(asked.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        return {"Body": self.body(content[start:]), "ContentLength": len(content) - start, "ETag": _etag(content)}

    def _head(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        content = self._content(asked, missing="404")
        return {"ContentLength": len(content), "ETag": _etag(content)}

    def _list(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        prefix, bucket = asked["Prefix"], f"{asked['Bucket']}/"
        keys = sorted(name.removeprefix(bucket) for name in self.objects if name.startswith(bucket + prefix))
        start = int(asked.get("ContinuationToken", "0"))
        found = [{"Key": key, "Size": len(self.objects[bucket + key])} for key in keys[start : start + self.page]]
        more = start + self.page < len(keys)
        token = {"NextContinuationToken": str(start + self.page)} if more else {}
        return {"Contents": found, "IsTruncated": more, **token}

    def _put(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return self._appear(asked, asked["Body"].read())

    def _begin(self, _asked: Mapping[str, Any]) -> dict[str, Any]:
        name = f"upload-{len(self.uploads)}"
        self.uploads[name] = {}
        return {"UploadId": name}

    def _part(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        body = asked["Body"].read()
        self.largest = max(self.largest, len(body))
        self.uploads[asked["UploadId"]][asked["PartNumber"]] = body
        return {"ETag": _etag(body)}

    def _complete(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        parts = self.uploads[asked["UploadId"]]
        listed = [(part["PartNumber"], part["ETag"]) for part in asked["MultipartUpload"]["Parts"]]
        assert listed == [(number, _etag(parts[number])) for number in sorted(parts)]
        answer = self._appear(asked, b"".join(parts[number] for number in sorted(parts)))
        del self.uploads[asked["UploadId"]]
        return answer

    def _abort(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        del self.uploads[asked["UploadId"]]
        return {}

    def _content(self, asked: Mapping[str, Any], missing: str = "NoSuchKey") -> bytes:
        content = self.objects.get(f"{asked['Bucket']}/{asked['Key']}")
        if content is None:
            raise ServiceError(missing, 404)
        return content

    def _appear(self, asked: Mapping[str, Any], content: bytes) -> dict[str, Any]:
        name = f"{asked['Bucket']}/{asked['Key']}"
        self.before_write(name)
        if asked.get("IfNoneMatch") == "*" and name in self.objects:
            raise ServiceError("PreconditionFailed", 412)
        self.largest = max(self.largest, len(content) if "MultipartUpload" not in asked else 0)
        self.objects[name] = content
        self.written.append(name)
        return {"ETag": _etag(content)}


def _etag(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@dataclass
class SigningService:
    """KMS in memory: keys of NIST P-256 by the alias that they are used by, `unusable` those that answer an error."""

    keys: dict[str, EC] = field(default_factory=dict)
    signed: list[str] = field(default_factory=list)
    unusable: dict[str, str] = field(default_factory=dict)

    def add(self, alias: str, kind: ECType = ECType.P_256) -> EC:
        return self.keys.setdefault(alias, EC.new_generate(kind))

    @property
    def client(self) -> Any:
        return client_of("kms", {"Sign": self._sign, "Verify": self._verify, "GetPublicKey": self._public})

    def _sign(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        key = self._key(asked)
        self.signed.append(asked["KeyId"])
        return {"KeyId": f"key of {asked['KeyId']}", "Signature": key.sign(asked["Message"])}

    def _verify(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        if not self._key(asked).verify(asked["Message"], asked["Signature"]):
            raise ServiceError("KMSInvalidSignatureException", 400)
        return {"SignatureValid": True}

    def _public(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        spki = self._key({**asked, "MessageType": "DIGEST", "SigningAlgorithm": "ECDSA_SHA_256"})
        der = spki.export_key(ECExportFormat.SPKI)
        # A key that was made here, and not read, gives its coordinates without leading zeros: one in 256 has some.
        spec = "ECC_NIST_P256" if len(spki.get_public_coords().x) <= 32 else "ECC_NIST_P384"
        return {"PublicKey": der, "KeySpec": spec, "KeyUsage": "SIGN_VERIFY"}

    def _key(self, asked: Mapping[str, Any]) -> EC:
        assert (asked["MessageType"], asked["SigningAlgorithm"]) == ("DIGEST", "ECDSA_SHA_256")
        if asked["KeyId"] in self.unusable:
            raise ServiceError(self.unusable[asked["KeyId"]], 409, "the key's state")
        if asked["KeyId"] not in self.keys:
            raise ServiceError("NotFoundException", 400)
        return self.keys[asked["KeyId"]]


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


@pytest.fixture
def kms() -> SigningService:
    return SigningService()


@pytest.fixture
def make_client() -> Callable[[str, Mapping[str, Operation]], Any]:
    return client_of


@pytest.fixture
def service_error() -> type[ServiceError]:
    return ServiceError


ROLE = "arn:aws:iam::111122223333:role/packaging-role"
START = dt.datetime(2024, 4, 1, tzinfo=dt.UTC)
PRESET = {"ComponentName": "dev.model", "ComponentVersion": "1.0.0"}


@dataclass
class Jobs:
    """SageMaker's jobs in memory.

    `errors` are raised by operation, the first first; `stranger` is found under every name that is not ours;
    `gone` are the keys of outputs that went.
    """

    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    stopped: list[str] = field(default_factory=list)
    errors: dict[str, list[tuple[str, int, str]]] = field(default_factory=dict)
    minutes: int = 0
    stranger: dict[str, Any] | None = None
    gone: set[str] = field(default_factory=set)

    def output(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """GetObject of what a job wrote."""
        if asked["Key"] in self.gone:
            raise ServiceError("NoSuchKey", 404)
        return {"Body": io.BytesIO(b"package"), "ETag": "e"}

    def now(self) -> dt.datetime:
        return START + dt.timedelta(minutes=self.minutes)

    def operations(self, kind: str) -> dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]]:
        name = f"{kind}JobName"

        def create(asked: Mapping[str, Any]) -> dict[str, Any]:
            self._fail(f"Create{kind}Job")
            assert asked[name] not in self.jobs, "a name can be used once"
            echoed = {k: v for k, v in asked.items() if k != "Tags"}
            if kind == "Compilation":
                extra = {"LastModifiedTime": START, "FailureReason": "", "ModelArtifacts": {"S3ModelArtifacts": ""}}
                answer = {
                    "CompilationJobArn": f"arn:aws:sagemaker:us-east-1:111122223333:compilation-job/{asked[name]}"
                }
            else:
                extra = {
                    "EdgePackagingJobArn": f"arn:aws:sagemaker:us-east:111122223333:edge-packaging-job/{asked[name]}"
                }
                answer = {}
            extra |= answer
            self.jobs[asked[name]] = {**echoed, **extra, f"{kind}JobStatus": "STARTING", "CreationTime": self.now()}
            return answer

        def describe(asked: Mapping[str, Any]) -> dict[str, Any]:
            self._fail(f"Describe{kind}Job")
            if asked[name] not in self.jobs and self.stranger is not None:
                return {**self.stranger, name: asked[name]}
            if asked[name] not in self.jobs:
                raise ServiceError("ValidationException", 400, f"Could not find job {asked[name]}")
            return self.jobs[asked[name]]

        def stop(asked: Mapping[str, Any]) -> dict[str, Any]:
            self._fail(f"Stop{kind}Job")
            self.stopped.append(asked[name])
            return {}

        return {f"Create{kind}Job": create, f"Describe{kind}Job": describe, f"Stop{kind}Job": stop}

    def _fail(self, operation: str) -> None:
        if waiting := self.errors.get(operation):
            raise ServiceError(*waiting.pop(0))


@dataclass
class Case:
    """One kind of job: its handler module, its properties, and how a job of it comes to its end."""

    kind: str
    module: Any
    properties: Mapping[str, Any]
    jobs: Jobs
    done: Mapping[str, Any]

    @property
    def status(self) -> str:
        return f"{self.kind}JobStatus"

    def event(self, type_: str, physical_id: str | None = None, **changes: Any) -> dict[str, Any]:
        properties = {"ServiceToken": "arn", **self.properties, **changes}
        event: dict[str, Any] = {"RequestType": type_, "LogicalResourceId": "Job", "ResourceProperties": properties}
        return event if physical_id is None else {**event, "PhysicalResourceId": physical_id}

    def create(self, **changes: Any) -> str:
        return str(self.module.on_event(self.event("Create", **changes), None)["PhysicalResourceId"])

    def poll(self, job: str, type_: str = "Create", **changes: Any) -> dict[str, Any]:
        return dict(self.module.is_complete(self.event(type_, job, **changes), None))

    def end(self, job: str, status: str = "COMPLETED", **values: Any) -> None:
        self.jobs.jobs[job] |= {**self.done, self.status: status, **values}


def _copied(_asked: Mapping[str, Any]) -> dict[str, Any]:
    return {"CopyObjectResult": {"ETag": "e"}}


def case_of(kind: str, monkeypatch: pytest.MonkeyPatch) -> Case:
    """SageMaker's jobs of one kind in memory, and the handler's entry points on them."""
    jobs = Jobs()
    client = client_of("sagemaker", jobs.operations(kind))
    common = {"JobName": "dev-digits-1-0", "TimeoutSeconds": "1800", "RoleArn": ROLE}
    if kind == "Compilation":
        compiled = client_of("s3", {"CopyObject": _copied, "GetObject": jobs.output})
        handler = compilation_job_handler.compilation_job(client, compiled, now=jobs.now)
        module: Any = compilation_job_handler
        properties = common | {
            "ModelArchive": "s3://assets/abc.gz",
            "MaxRuntimeInSeconds": "900",
            "InputConfig": {
                "S3Uri": "s3://artifacts/source/digits.tar.gz",
                "Framework": "ONNX",
                "DataInputConfig": '{"image": [1, 1, 8, 8]}',
            },
            "OutputConfig": {"S3OutputLocation": "s3://artifacts/compiled", "TargetDevice": "rasp4b"},
        }
        done: dict[str, Any] = {"ModelArtifacts": {"S3ModelArtifacts": "s3://artifacts/compiled/digits-rasp4b.tar.gz"}}
    else:
        package = client_of("s3", {"GetObject": jobs.output})
        handler = sagemaker_packaging_handler.packaging_job(client, package, now=jobs.now)
        module = sagemaker_packaging_handler
        properties = common | {
            "CompilationJobName": "compiled-1",
            "ModelName": "digits",
            "ModelVersion": "1.0",
            "OutputConfig": {
                "S3OutputLocation": "s3://artifacts/models",
                "PresetDeploymentType": "GreengrassV2Component",
                "PresetDeploymentConfig": json.dumps(PRESET),
            },
        }
        done = {
            "ModelArtifact": "s3://artifacts/models/digits-1.0.tar.gz",
            "ModelSignature": "{}",
            "PresetDeploymentOutput": {
                "Type": "GreengrassV2Component",
                "Status": "COMPLETED",
                "Artifact": "arn:aws:greengrass:us-east-1:111122223333:components:dev.model:versions:1.0.0",
            },
        }
    monkeypatch.setattr(module, "_handler", lambda: handler)
    return Case(kind, module, properties, jobs, done)


@pytest.fixture(params=["Compilation", "EdgePackaging"])
def case(request: Any, monkeypatch: pytest.MonkeyPatch) -> Case:
    return case_of(request.param, monkeypatch)


@pytest.fixture
def make_case(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Case]:
    return lambda kind: case_of(kind, monkeypatch)
