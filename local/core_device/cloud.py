# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence


class CloudUnreachableError(Exception):
    """The cloud did not answer, or not now: try again later."""


class CloudRefusedError(Exception):
    """The cloud answered no: trying again changes nothing."""


@dataclass(frozen=True)
class Credentials:
    """Temporary keys of the device role."""

    access_key_id: str
    secret_access_key: str
    token: str
    expiration: dt.datetime


@dataclass(frozen=True)
class EffectiveDeployment:
    """A deployment that reaches this device, and how far the device has reported to be with it."""

    id: str
    target: str
    job_id: str
    status: str
    created: float


@dataclass(frozen=True)
class ComponentRequest:
    """What a deployment asks of one component."""

    version: str
    merge: Mapping[str, Any] = field(default_factory=dict)
    reset: Sequence[str] = ()


@dataclass(frozen=True)
class Deployment:
    """The content of a deployment.

    Attributes:
        rollback: whether the device returns to what it ran when it fails.
        notify: whether components are asked before the update.
        notify_seconds: how long each has for its answer.
    """

    id: str
    target: str
    components: Mapping[str, ComponentRequest]
    rollback: bool = True
    notify: bool = True
    notify_seconds: float = 60.0


class Cloud(Protocol):
    """What a core device asks of AWS. Every call may raise `CloudUnreachableError` or `CloudRefusedError`."""

    def effective_deployments(self) -> Sequence[EffectiveDeployment]:
        """List the deployments that reach this device by its own name and its groups'."""
        ...

    def deployment(self, deployment_id: str) -> Deployment:
        """Fetch a deployment's content."""
        ...

    def component_versions(self, name: str) -> Sequence[str]:
        """List the versions of a component, none if there is no such component."""
        ...

    def recipe(self, name: str, version: str) -> bytes:
        """Fetch a component version's recipe as JSON, its artifacts' digests in it."""
        ...

    def download(self, uri: str, target: BinaryIO, credentials: Credentials) -> None:
        """Copy an object of S3 with the device role's credentials."""
        ...

    def role_credentials(self, role_alias: str) -> Credentials:
        """Fetch credentials of the role behind an alias."""
        ...

    def policy_document(self, name: str) -> Mapping[str, Any]:
        """Fetch an AWS IoT policy."""
        ...

    def publish(self, topic: str, payload: bytes, *, qos: int) -> None:
        """Publish a message to AWS IoT Core."""
        ...
