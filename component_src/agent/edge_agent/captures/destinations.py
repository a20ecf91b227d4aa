# SPDX-License-Identifier: Apache-2.0
"""Where captures go: the disk, or a bucket."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Callable, Protocol

import boto3
import botocore.config
import botocore.exceptions

from edge_agent.files import make_directory, write_durably

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST_TYPE = "application/x-jsonlines"
SIDE_FILE_TYPE = "application/octet-stream"


class DeliveryError(Exception):
    """A file did not arrive; trying again may help."""


class Destination(Protocol):
    """Takes files; the same key may be given again, with the same bytes."""

    def reference(self, key: str) -> str:
        """The address under which consumers find a file."""

    def put(self, key: str, data: bytes, *, content_type: str) -> None:
        """Store a file.

        Raises:
            DeliveryError: It did not arrive.
        """


class Disk:
    """A directory of the device.

    Args:
        root: The directory; made when it is missing.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def reference(self, key: str) -> str:
        """A ``file://`` address."""
        return f"file://{self._root / key}"

    def put(self, key: str, data: bytes, *, content_type: str) -> None:  # noqa: ARG002 # files have no type
        """Write a file, whole and durable."""
        path = self._root / key
        try:
            make_directory(path.parent)
            write_durably(path, data)
        except OSError as error:
            raise DeliveryError(f"{path}: {error}") from error


def _s3_client() -> Any:
    # The pipeline repeats what fails, for as long as it takes; what hangs must fail soon.
    config = botocore.config.Config(connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 1})
    # The nucleus sets both of AWS_REGION and AWS_DEFAULT_REGION; boto3 itself reads the second only.
    return boto3.session.Session(region_name=os.environ.get("AWS_REGION")).client("s3", config=config)


class Bucket:
    """An S3 bucket, reached with the credentials of the environment: on a device, the token exchange service's.

    Args:
        name: The bucket.
        make_client: Makes the S3 client at the first need: on a device that starts offline there are no credentials.
    """

    def __init__(self, name: str, *, make_client: Callable[[], Any] = _s3_client) -> None:
        self._name = name
        self._make_client = make_client
        self._client: Any = None
        self._lock = threading.Lock()

    def reference(self, key: str) -> str:
        """An ``s3://`` address."""
        return f"s3://{self._name}/{key}"

    def put(self, key: str, data: bytes, *, content_type: str) -> None:
        """Upload a file."""
        try:
            with self._lock:
                self._client = self._client or self._make_client()
            self._client.put_object(Bucket=self._name, Key=key, Body=data, ContentType=content_type)
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError, OSError) as error:
            raise DeliveryError(f"{self.reference(key)}: {error}") from error
