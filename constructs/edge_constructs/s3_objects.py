# SPDX-License-Identifier: Apache-2.0
"""Objects that are written once and read with flat memory: the handlers' way to S3. Standard library and botocore."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable
from typing import IO, Any, Protocol, Self

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from edge_constructs.handler_kernel import Deadline, ResourceError, logger

# A deployment of many models calls at the same time: every client of the handlers waits longer, and oftener.
CLIENT = Config(retries={"mode": "standard", "total_max_attempts": 8})

_CHUNK = 1 << 20
# 2 GB in 128 parts, where S3 takes 10,000 of at least 5 MiB.
_PART = 16 << 20
# How often an answer may break off: boto3 repeats a request, and never a body that it handed on.
_REOPENINGS = 5
_BROKEN = (BotoCoreError, HTTPError, OSError)
_MISSING = frozenset({"NoSuchKey", "404", "NotFound"})
_TAKEN = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})


class Readable(Protocol):
    """The call of boto3's S3 client that reading takes."""

    @property
    def get_object(self) -> Callable[..., Any]:
        """GetObject."""


class S3(Readable, Protocol):
    """The calls of boto3's S3 client that the handlers make."""

    @property
    def head_object(self) -> Callable[..., Any]:
        """HeadObject."""

    @property
    def list_objects_v2(self) -> Callable[..., Any]:
        """ListObjectsV2."""

    @property
    def put_object(self) -> Callable[..., Any]:
        """PutObject."""

    @property
    def create_multipart_upload(self) -> Callable[..., Any]:
        """CreateMultipartUpload."""

    @property
    def upload_part(self) -> Callable[..., Any]:
        """UploadPart."""

    @property
    def complete_multipart_upload(self) -> Callable[..., Any]:
        """CompleteMultipartUpload."""

    @property
    def abort_multipart_upload(self) -> Callable[..., Any]:
        """AbortMultipartUpload."""


def parse_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of an `s3://` address.

    Raises:
        ResourceError: it is none.
    """
    match = re.fullmatch(r"s3://([^/]+)/(.*)", uri)
    if match is None:
        raise ResourceError(f"{uri!r}: an address like s3://bucket/key is expected")
    return match[1], match[2]


def open_object(s3: Readable, bucket: str, key: str) -> ObjectBody | None:
    """The object's body as a stream, or None where there is none."""
    try:
        return ObjectBody(s3, bucket, key)
    except ClientError as error:
        if error.response["Error"]["Code"] in _MISSING:
            return None
        raise


def is_stored(s3: Readable, uri: str) -> bool:
    """Whether there is an object at an `s3://` address."""
    body = open_object(s3, *parse_uri(uri))
    if body is not None:
        body.close()
    return body is not None


def stored_sha256(s3: Readable, bucket: str, key: str, *, deadline: Deadline) -> str | None:
    """SHA-256 of the object's bytes, read through, or None where there is none."""
    body = open_object(s3, bucket, key)
    return None if body is None else HashingReader(body, work=f"reading s3://{bucket}/{key}", deadline=deadline).drain()


def copy_hashed(source: HashingReader, target: IO[bytes]) -> str:
    """Copy a stream into a file, rewind the file, and return the SHA-256 of what passed."""
    while chunk := source.read(_CHUNK):
        target.write(chunk)
    target.seek(0)
    return source.drain()


def put_once(s3: S3, bucket: str, key: str, body: IO[bytes], *, sha256: str, deadline: Deadline) -> None:
    """Write an object only where none is; another writer of the same bytes is welcome.

    Raises:
        ResourceError: another writer put other bytes there in the meantime.
    """
    try:
        s3.put_object(Bucket=bucket, Key=key, Body=body, IfNoneMatch="*")
    except ClientError as error:
        if error.response["Error"]["Code"] not in _TAKEN:
            raise
        if (present := stored_sha256(s3, bucket, key, deadline=deadline)) != sha256:
            raise ResourceError(
                f"s3://{bucket}/{key} was written by someone else with SHA-256 {present}, expected {sha256}"
            ) from error


class HashingReader:
    """A stream that knows the SHA-256 of what was read of it, and when reading takes too long."""

    def __init__(self, stream: Any, *, work: str, deadline: Deadline) -> None:
        self._stream = stream
        self._work = work
        self._deadline = deadline
        self._digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, or all.

        Raises:
            ResourceError: the time is over.
        """
        self._deadline.check(self._work)
        chunk: bytes = self._stream.read(size)
        self._digest.update(chunk)
        return chunk

    def drain(self) -> str:
        """Read what is left, and return the digest of all, lower-case hex."""
        while self.read(_CHUNK):
            pass
        return self._digest.hexdigest()


class ObjectBody:
    """An object's bytes from an offset on; where the answer breaks off, the rest of the same object is asked for.

    Args:
        s3: the client.
        bucket: the object's.
        key: the object's.
        start: bytes that are left out.
        etag: of the object that is expected; blank: whichever is there.

    Raises:
        ClientError: S3's refusal, of the first answer.
        ResourceError: the object changed while it was read.
    """

    def __init__(self, s3: Readable, bucket: str, key: str, *, start: int = 0, etag: str = "") -> None:
        self._s3 = s3
        self._object = {"Bucket": bucket, "Key": key}
        self._position = start
        self._etag = etag
        self._left = _REOPENINGS
        self._stream = self._open()

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, or all that are left."""
        while True:
            try:
                chunk: bytes = self._stream.read(None if size < 0 else size)
            except _BROKEN as error:
                if not self._left:
                    raise
                self._left -= 1
                where = "s3://{Bucket}/{Key}".format(**self._object)
                logger.warning("%s broke off at byte %d, it is asked for again: %r", where, self._position, error)
                self._stream.close()
                self._stream = self._open()
            else:
                self._position += len(chunk)
                return chunk

    def close(self) -> None:
        """Let go of the answer."""
        self._stream.close()

    def _open(self) -> Any:
        asked: dict[str, str] = dict(self._object)
        if self._position:
            asked["Range"] = f"bytes={self._position}-"
        if self._etag:
            asked["IfMatch"] = self._etag
        try:
            answer = self._s3.get_object(**asked)
        except ClientError as error:
            if error.response["Error"]["Code"] == "PreconditionFailed":
                where = "s3://{Bucket}/{Key}".format(**self._object)
                raise ResourceError(f"{where} changed while it was read; deploy again") from error
            raise
        self._etag = answer["ETag"]
        return answer["Body"]


class ObjectReader(io.RawIOBase):
    """An object as a file that can be read anywhere: one open answer of S3's, and a new one after a jump.

    Raises:
        ResourceError: there is no such object, or it changed while it was read.
    """

    def __init__(self, s3: S3, bucket: str, key: str) -> None:
        super().__init__()
        self._s3 = s3
        self._bucket = bucket
        self._key = key
        try:
            head = s3.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING:
                raise ResourceError(f"s3://{bucket}/{key}: a model source is expected, there is none") from error
            raise
        self.size: int = head["ContentLength"]
        self._etag = head["ETag"]
        self._position = 0
        self._body: ObjectBody | None = None

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Bytes from the start."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Jump; nothing is read before it must."""
        target = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if target != self._position:
            self._position = target
            self._drop()
        return target

    def readinto(self, buffer: Any) -> int:
        """Read what S3 has ready, at most as much as fits."""
        if self._position >= self.size:
            return 0
        if self._body is None:
            self._body = ObjectBody(self._s3, self._bucket, self._key, start=self._position, etag=self._etag)
        chunk = self._body.read(len(buffer))
        buffer[: len(chunk)] = chunk
        self._position += len(chunk)
        return len(chunk)

    def close(self) -> None:
        """Let go of the answer."""
        self._drop()
        super().close()

    def _drop(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None


class ObjectWriter:
    """Writes an object of any size with flat memory, only where there is none; it appears whole or not at all.

    Encrypted by the bucket's own rule, or with the KMS key of `kms_key_id`. A context manager: an error inside it, or
    none after which `finish` was not called, leaves nothing behind.
    """

    def __init__(self, s3: S3, bucket: str, key: str, *, deadline: Deadline, kms_key_id: str | None = None) -> None:
        self._s3 = s3
        self._deadline = deadline
        self._object = {"Bucket": bucket, "Key": key}
        self._encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key_id} if kms_key_id else {}
        self._pending = bytearray()
        self._digest = hashlib.sha256()
        self._upload: str | None = None
        self._parts: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        """It writes nothing yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Drop an upload that was not finished."""
        if self._upload is not None:
            upload, self._upload = self._upload, None
            try:
                self._s3.abort_multipart_upload(**self._object, UploadId=upload)
            except (BotoCoreError, ClientError) as error:
                # Not raised: it would hide why the upload is dropped. The bucket's own rule removes its parts later.
                logger.warning("upload %s of s3://%s/%s stays: %r", upload, *self._object.values(), error)

    def write(self, data: bytes) -> int:
        """Append bytes."""
        self._digest.update(data)
        self._pending += data
        while len(self._pending) >= _PART:
            self._send(_PART)
        return len(data)

    def finish(self) -> str | None:
        """Let the object appear.

        Returns:
            SHA-256 of its bytes in lower-case hex, or None where there is an object already: it was not touched.
        """
        try:
            if self._upload is None:
                self._s3.put_object(**self._object, **self._encryption, Body=bytes(self._pending), IfNoneMatch="*")
            else:
                if self._pending:
                    self._send(len(self._pending))
                self._s3.complete_multipart_upload(
                    **self._object, UploadId=self._upload, MultipartUpload={"Parts": self._parts}, IfNoneMatch="*"
                )
                self._upload = None
        except ClientError as error:
            if error.response["Error"]["Code"] in _TAKEN:
                return None
            raise
        return self._digest.hexdigest()

    def _send(self, size: int) -> None:
        self._deadline.check("writing s3://{Bucket}/{Key}".format(**self._object))
        if self._upload is None:
            self._upload = self._s3.create_multipart_upload(**self._object, **self._encryption)["UploadId"]
        number = len(self._parts) + 1
        body = bytes(self._pending[:size])
        del self._pending[:size]
        answer = self._s3.upload_part(**self._object, UploadId=self._upload, PartNumber=number, Body=body)
        self._parts.append({"PartNumber": number, "ETag": answer["ETag"]})
