# SPDX-License-Identifier: Apache-2.0
"""Copies an asset to its content-versioned key in the artifact bucket; never overwrites, never deletes."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping
from typing import Any

import boto3

from edge_constructs.handler_kernel import Request, ResourceError, Response, handle
from edge_constructs.s3_objects import CLIENT, S3, HashingReader, ObjectBody, copy_hashed, put_once, stored_sha256


class PublishedArtifact:
    """Properties: SourceBucket, SourceKey, TargetBucket, TargetKey, Sha256 (lower-case hex of the object's bytes)."""

    def __init__(self, s3: S3) -> None:
        self._s3 = s3

    def apply(self, request: Request) -> Response:
        """Bring the target object about; a target that already has the right bytes is left alone.

        Raises:
            ResourceError: the source's bytes, or those of an object already there, are not the expected ones.
        """
        bucket, key, expected = request.text("TargetBucket"), request.text("TargetKey"), request.text("Sha256")
        uri = f"s3://{bucket}/{key}"
        deadline = request.deadline
        response = Response(PhysicalResourceId=uri, Data={"Uri": uri})
        if (present := stored_sha256(self._s3, bucket, key, deadline=deadline)) is not None:
            if present != expected:
                raise ResourceError(
                    f"{uri} exists with SHA-256 {present}, expected {expected}: artifacts are never overwritten; "
                    "give the component a new version (make lock)"
                )
            return response
        source = f"s3://{request.text('SourceBucket')}/{request.text('SourceKey')}"
        with tempfile.TemporaryFile() as file:
            body = ObjectBody(self._s3, request.text("SourceBucket"), request.text("SourceKey"))
            found = copy_hashed(HashingReader(body, work=f"copying {source}", deadline=deadline), file)
            if found != expected:
                raise ResourceError(
                    f"{source} has SHA-256 {found}, expected {expected}: the asset changed; deploy again"
                )
            put_once(self._s3, bucket, key, file, sha256=expected, deadline=deadline)
        return response

    def delete(self, request: Request) -> None:
        """Nothing: a device that was offline for a month still needs its artifact. `make prune` removes old ones."""


@functools.cache
def _handler() -> PublishedArtifact:
    return PublishedArtifact(boto3.client("s3", config=CLIENT))


def on_event(event: Mapping[str, Any], context: object) -> Response:
    """Lambda entry point."""
    return handle(_handler(), event, context)
