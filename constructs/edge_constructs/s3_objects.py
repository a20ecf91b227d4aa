# SPDX-License-Identifier: Apache-2.0
"""Objects that are written once: the handlers' way to S3. Standard library and botocore only."""

from __future__ import annotations

import hashlib
from typing import IO, Any, Protocol

from botocore.exceptions import ClientError

from edge_constructs.handler_kernel import ResourceError

_CHUNK = 1 << 20


class S3(Protocol):
    """The calls of boto3's S3 client that the handlers make."""

    def get_object(self, *, Bucket: str, Key: str) -> Any:  # noqa: N803 -- boto3's names
        """GetObject."""

    def put_object(self, *, Bucket: str, Key: str, Body: IO[bytes], IfNoneMatch: str) -> Any:  # noqa: N803
        """PutObject."""


def stored_sha256(s3: S3, bucket: str, key: str) -> str | None:
    """SHA-256 of the object's bytes, read through, or None where there is none."""
    try:
        body = s3.get_object(Bucket=bucket, Key=key)["Body"]
    except ClientError as error:
        if error.response["Error"]["Code"] in {"NoSuchKey", "404"}:
            return None
        raise
    digest = hashlib.sha256()
    while chunk := body.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def copy_hashed(source: Any, target: IO[bytes]) -> str:
    """Copy a stream into a file, rewind the file, and return the SHA-256 of what passed."""
    digest = hashlib.sha256()
    while chunk := source.read(_CHUNK):
        digest.update(chunk)
        target.write(chunk)
    target.seek(0)
    return digest.hexdigest()


def put_once(s3: S3, bucket: str, key: str, body: IO[bytes], *, sha256: str) -> None:
    """Write an object only where none is; another writer of the same bytes is welcome.

    Raises:
        ResourceError: another writer put other bytes there in the meantime.
    """
    try:
        s3.put_object(Bucket=bucket, Key=key, Body=body, IfNoneMatch="*")
    except ClientError as error:
        if error.response["Error"]["Code"] not in {"PreconditionFailed", "ConditionalRequestConflict"}:
            raise
        if (present := stored_sha256(s3, bucket, key)) != sha256:
            raise ResourceError(
                f"s3://{bucket}/{key} was written by someone else with SHA-256 {present}, expected {sha256}"
            ) from error
