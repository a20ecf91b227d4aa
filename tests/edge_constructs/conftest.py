# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.validate import validate_parameters

Operation = Callable[[Mapping[str, Any]], dict[str, Any]]


class ServiceError(Exception):
    """What an operation of a fake raises to answer with an error."""

    def __init__(self, code: str, status: int) -> None:
        super().__init__(code)
        self.code = code
        self.status = status


def client_of(service: str, operations: Mapping[str, Operation]) -> Any:
    """A real boto3 client whose calls end in memory: botocore checks requests and answers against its service model."""
    session: Any = boto3.session.Session()
    client = session.client(
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
            return SimpleNamespace(status_code=error.status), {"Error": {"Code": error.code, "Message": ""}}
        if model.output_shape is not None:
            validate_parameters(response, model.output_shape)
        return SimpleNamespace(status_code=200), response

    client.meta.events.register_first(f"before-parameter-build.{service}", remember)
    client.meta.events.register(f"before-call.{service}", answer)
    return client


@dataclass
class Bucket:
    """Objects in memory by `bucket/key`; `written` lists the keys of every PutObject."""

    objects: dict[str, bytes] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)

    @property
    def client(self) -> Any:
        return client_of("s3", {"GetObject": self._get, "PutObject": self._put})

    def _get(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        content = self.objects.get(f"{asked['Bucket']}/{asked['Key']}")
        if content is None:
            raise ServiceError("NoSuchKey", 404)
        return {"Body": io.BytesIO(content), "ContentLength": len(content)}

    def _put(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        name = f"{asked['Bucket']}/{asked['Key']}"
        if asked.get("IfNoneMatch") == "*" and name in self.objects:
            raise ServiceError("PreconditionFailed", 412)
        self.objects[name] = asked["Body"].read()
        self.written.append(name)
        return {"ETag": hashlib.md5(self.objects[name], usedforsecurity=False).hexdigest()}


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


@pytest.fixture
def make_client() -> Callable[[str, Mapping[str, Operation]], Any]:
    return client_of


@pytest.fixture
def service_error() -> type[ServiceError]:
    return ServiceError
