# SPDX-License-Identifier: Apache-2.0
"""Where captures go: the disk, or a bucket."""

from __future__ import annotations

import dataclasses
import io
import os
import threading
from typing import IO, TYPE_CHECKING, Any, Callable, Protocol

import boto3
import botocore.config
import botocore.exceptions

from edge_agent.files import Group, make_directory

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from edge_agent.settings import Settings

MANIFEST_TYPE = "application/x-jsonlines"
SIDE_FILE_TYPE = "application/octet-stream"


class DeliveryError(Exception):
    """A file did not arrive; trying again may help."""


class NoRoomError(DeliveryError):
    """Files would pass the bound of their destination; trying again helps when some were removed there."""


@dataclasses.dataclass(frozen=True)
class File:
    """What is delivered: bytes, or those of a file; ``key`` is relative to the bucket or disk path."""

    key: str
    data: bytes | Path
    content_type: str = SIDE_FILE_TYPE

    def open(self) -> IO[bytes]:
        """Its content as a stream.

        Raises:
            OSError: Its file cannot be read.
        """
        return io.BytesIO(self.data) if isinstance(self.data, bytes) else self.data.open("rb")


class Destination(Protocol):
    """Takes files; the same key may be given again, with the same bytes.

    Attributes:
        together: How many batches are delivered at the same time when so many wait.
    """

    together: int

    def reference(self, key: str) -> str:
        """The address under which consumers find a file."""

    def put(self, files: Iterable[File]) -> None:
        """Store files; when this returns, all of them are there to stay.

        Raises:
            DeliveryError: They did not all arrive.
        """


class Disk:
    """A directory of the device. The files of one call are synced together.

    Args:
        root: The directory; made when it is missing.
    """

    together = 8  # the more wait, the fewer times each waits for the disk

    def __init__(self, root: Path) -> None:
        self._root = root

    def reference(self, key: str) -> str:
        """A ``file://`` address."""
        return f"file://{self._root / key}"

    def put(self, files: Iterable[File]) -> None:
        """Write files, each whole, all durable at the end."""
        try:
            with Group() as group:
                for file in files:
                    path = self._root / file.key
                    make_directory(path.parent)
                    if isinstance(file.data, bytes):
                        group.write(path, file.data)
                    else:
                        group.take(path, file.data)
        except OSError as error:
            raise DeliveryError(f"{self._root}: {error}") from error


def make_session(settings: Settings) -> Any:
    """Make a boto3 session with the credentials that the settings or the environment name."""
    session = None
    if settings.iot_credentials is not None:
        from edge_agent import iot_credentials  # noqa: PLC0415 # on few devices

        session = iot_credentials.make_session(settings.iot_credentials, settings.device_name)
    # The nucleus sets both of AWS_REGION and AWS_DEFAULT_REGION; boto3 itself reads the second only.
    region = settings.bucket_region or os.environ.get("AWS_REGION")
    return boto3.session.Session(botocore_session=session, region_name=region)


def make_s3_client(settings: Settings) -> Any:
    """Make an S3 client."""
    # The pipeline repeats what fails, for as long as it takes; what hangs must fail soon.
    config = botocore.config.Config(connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 1})
    return make_session(settings).client("s3", config=config)


class Bucket:
    """An S3 bucket, reached with the credentials of the environment: on a device, the token exchange service's.

    Args:
        name: The bucket.
        make_client: Makes the S3 client at the first need: on a device that starts offline there are no credentials.
    """

    together = 1  # nothing is gained, and what arrived is known sooner

    def __init__(self, name: str, *, make_client: Callable[[], Any]) -> None:
        self._name = name
        self._make_client = make_client
        self._client: Any = None
        self._lock = threading.Lock()

    def reference(self, key: str) -> str:
        """An ``s3://`` address."""
        return f"s3://{self._name}/{key}"

    def put(self, files: Iterable[File]) -> None:
        """Upload files, one after the other."""
        for file in files:
            self._put(file)

    def _put(self, file: File) -> None:
        try:
            with self._lock:
                self._client = self._client or self._make_client()
            with file.open() as body:
                self._client.put_object(Bucket=self._name, Key=file.key, Body=body, ContentType=file.content_type)
        # The last is how botocore says that credentials are expired by the device's clock, however new they are.
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError, OSError, RuntimeError) as error:
            raise DeliveryError(f"{self.reference(file.key)}: {error}") from error
