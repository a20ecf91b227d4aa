# SPDX-License-Identifier: Apache-2.0
"""Where packages lie: in the file system, or in S3. Nothing is overwritten in either."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from edge_model.errors import ModelCommandError
from edge_package import SIGNATURE_NAME, SIGNATURE_SUFFIX
from edge_package.atomic import written_whole

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client

_SCHEME = "s3://"
_CHUNK = 1 << 20
_ABSENT = {"404", "NoSuchKey", "NotFound"}
_EXISTS = {"412", "PreconditionFailed", "ConditionalRequestConflict"}


def is_s3(location: str) -> bool:
    """Whether a location lies in S3."""
    return location.startswith(_SCHEME)


def fetched(location: str, *, into: Path) -> Path:
    """Have a folder or file at hand as a path.

    Args:
        location: a path, `s3://bucket/key` of one object, or `s3://bucket/prefix/` of a folder.
        into: where objects are downloaded to; a package's signature, if there is one, lies beside it then.

    Raises:
        ModelCommandError: there is nothing, or S3 does not give it.
    """
    if not is_s3(location):
        path = Path(location)
        if not path.exists():
            raise ModelCommandError(
                f"{location}: expected a model folder or a package there, found nothing; name another"
            )
        return path
    bucket, key = _split(location)
    client = _client()
    if not key.endswith("/"):
        path = into / key.rpartition("/")[2]
        _called(location, lambda: client.download_file(bucket, key, str(path)))
        signature = path.with_name(path.name + SIGNATURE_SUFFIX)
        if _exists(client, bucket, key + SIGNATURE_SUFFIX):
            _called(location, lambda: client.download_file(bucket, key + SIGNATURE_SUFFIX, str(signature)))
        return path
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key)
    keys = [item["Key"] for page in _called(location, lambda: list(pages)) for item in page.get("Contents", ())]
    folder = into / "folder"
    for name in keys:
        path = folder / name.removeprefix(key)
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ModelCommandError(
                f"{location}: expected names that stay in the folder, got the key {name!r}; rename the object"
            )
        if not name.endswith("/"):
            path.parent.mkdir(parents=True, exist_ok=True)
            _called(location, partial(client.download_file, bucket, name, str(path)))
    if not folder.is_dir():
        raise ModelCommandError(
            f"{location}: expected objects with this prefix, found none; name another, or copy them"
        )
    return folder


def stored(path: Path, location: str) -> bool:
    """Put a file where it belongs, unless the same bytes are there.

    Args:
        path: the file.
        location: a path or `s3://bucket/key`.

    Returns:
        False: the same bytes were there.

    Raises:
        ModelCommandError: other bytes are there, or S3 refuses.
    """
    digest = _digest(path)
    if not is_s3(location):
        target = Path(location)
        if target.exists():
            return _same(digest, _digest(target), location)
        target.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(target) as stream, path.open("rb") as source:
            while chunk := source.read(_CHUNK):
                stream.write(chunk)
        return True
    bucket, key = _split(location)
    client = _client()
    checksum = base64.b64encode(digest).decode("ascii")
    try:
        with path.open("rb") as body:
            client.put_object(Bucket=bucket, Key=key, Body=body, IfNoneMatch="*", ChecksumSHA256=checksum)
    except ClientError as error:
        if error.response["Error"]["Code"] not in _EXISTS:
            raise ModelCommandError(f"{location}: {error}; correct the location, or ask for the permission") from error
        # Read, not asked for: what the packaging job wrote in parts has no checksum of its whole.
        found = _called(location, lambda: _stream_digest(client.get_object(Bucket=bucket, Key=key)["Body"]))
        return _same(digest, found, location)
    except (BotoCoreError, OSError) as error:
        raise ModelCommandError(f"{location}: {error}; look at credentials, region and network") from error
    return True


def signature_location(package: str) -> str:
    """Where the signature of a package lies: beside a package file, inside an unpacked package."""
    if package.endswith("/") or (not is_s3(package) and Path(package).is_dir()):
        return f"{package.rstrip('/')}/{SIGNATURE_NAME}"
    return package + SIGNATURE_SUFFIX


def _same(expected: bytes, found: bytes, location: str) -> bool:
    if found != expected:
        raise ModelCommandError(
            f"{location}: expected nothing there, or the same bytes (SHA-256 {expected.hex()}), found others "
            f"({found.hex()}); raise the model's version, or choose another place"
        )
    return False


def _digest(path: Path) -> bytes:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def _stream_digest(stream: StreamingBody) -> bytes:
    digest = hashlib.sha256()
    for chunk in stream.iter_chunks(_CHUNK):
        digest.update(chunk)
    return digest.digest()


def _split(location: str) -> tuple[str, str]:
    bucket, _, key = location.removeprefix(_SCHEME).partition("/")
    if not bucket or not key:
        raise ModelCommandError(
            f"{location}: expected s3://bucket/key, or s3://bucket/prefix/ for a folder; complete it"
        )
    return bucket, key


def _client() -> S3Client:
    try:
        return boto3.client("s3")
    except BotoCoreError as error:
        raise ModelCommandError(f"s3: {error}; set AWS_REGION and credentials, or AWS_PROFILE") from error


def _exists(client: S3Client, bucket: str, key: str) -> bool:
    try:
        client.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] in _ABSENT:
            return False
        raise ModelCommandError(f"s3://{bucket}/{key}: {error}; ask for the permission to read it") from error
    return True


def _called(location: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except ClientError as error:
        raise ModelCommandError(f"{location}: {error}; correct the location, or ask for the permission") from error
    except (BotoCoreError, OSError) as error:
        raise ModelCommandError(f"{location}: {error}; look at credentials, region and network") from error
