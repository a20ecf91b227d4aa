# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

from edge_constructs import published_artifact_handler as handler
from edge_constructs.handler_kernel import ResourceError

CONTENT = b"zip" * 1000
TARGET = "artifacts/components/agent.zip"


def event(type_: str = "Create", **changes: Any) -> dict[str, Any]:
    properties = {
        "ServiceToken": "arn:aws:lambda:us-east-1:111122223333:function:f",
        "SourceBucket": "assets",
        "SourceKey": "abc.zip",
        "TargetBucket": "artifacts",
        "TargetKey": "components/agent.zip",
        "Sha256": hashlib.sha256(CONTENT).hexdigest(),
    }
    request = {"RequestType": type_, "LogicalResourceId": "Artifact", "ResourceProperties": {**properties, **changes}}
    return request if type_ == "Create" else {**request, "PhysicalResourceId": "s3://artifacts/components/agent.zip"}


@pytest.fixture(autouse=True)
def s3(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    bucket.objects["assets/abc.zip"] = CONTENT
    monkeypatch.setattr(handler, "_handler", lambda: handler.PublishedArtifact(bucket.client))
    return bucket


def test_the_asset_is_copied_once(s3: Any) -> None:
    for type_ in ("Create", "Create", "Update"):
        response = handler.on_event(event(type_), None)
        assert response["PhysicalResourceId"] == "s3://artifacts/components/agent.zip"
    assert s3.objects[TARGET] == CONTENT
    assert s3.written == [TARGET]


def test_delete_keeps_the_artifact(s3: Any) -> None:
    handler.on_event(event(), None)
    handler.on_event(event("Delete"), None)
    assert s3.objects[TARGET] == CONTENT


def test_other_bytes_under_the_key_stay_and_fail_the_resource(s3: Any) -> None:
    s3.objects[TARGET] = b"others"
    with pytest.raises(ResourceError, match=r"never overwritten.*make lock"):
        handler.on_event(event(), None)
    assert s3.objects[TARGET] == b"others"


def test_an_asset_with_other_bytes_is_not_published(s3: Any) -> None:
    s3.objects["assets/abc.zip"] = b"others"
    with pytest.raises(ResourceError, match="the asset changed"):
        handler.on_event(event(), None)
    assert TARGET not in s3.objects


@pytest.mark.parametrize(("other", "fails"), [(CONTENT, False), (b"others", True)])
def test_a_writer_that_was_quicker_is_welcome_with_the_same_bytes(other: bytes, *, fails: bool, s3: Any) -> None:
    put = s3._put

    def lose_the_race(asked: Mapping[str, Any]) -> dict[str, Any]:
        s3.objects[TARGET] = other
        answer: dict[str, Any] = put(asked)
        return answer

    s3._put = lose_the_race
    if fails:
        with pytest.raises(ResourceError, match="someone else"):
            handler.on_event(event(), None)
    else:
        handler.on_event(event(), None)
    assert s3.objects[TARGET] == other


def test_a_denied_read_is_not_taken_for_a_missing_key(s3: Any, service_error: Any) -> None:
    def denied(_asked: Mapping[str, Any]) -> dict[str, Any]:
        raise service_error("AccessDenied", 403)

    s3._get = denied
    with pytest.raises(ClientError, match="AccessDenied"):
        handler.on_event(event(), None)
    assert s3.written == []
