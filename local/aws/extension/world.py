# SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence
from typing import Protocol


class World(Protocol):
    """What Greengrass asks of the services around it, within one account and region."""

    @property
    def account(self) -> str:
        """Twelve digits."""

    @property
    def region(self) -> str:
        """Such as ``us-east-1``."""

    def now(self) -> float:
        """Seconds since the epoch."""

    def read_object(self, bucket: str, key: str) -> bytes | None:
        """The bytes of an S3 object, or None when it or its bucket does not exist."""

    def things_of(self, target_arn: str) -> Sequence[str] | None:
        """Names of the things behind a thing's or a thing group's ARN, or None when it does not exist."""

    def targets_of(self, thing: str) -> Sequence[str] | None:
        """ARNs by which deployments reach a thing: its own and its groups'; None when there is no such thing."""
