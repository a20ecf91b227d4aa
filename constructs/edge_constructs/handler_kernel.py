# SPDX-License-Identifier: Apache-2.0
"""What every custom resource's Lambda handler shares; standard library only.

A handler is a class with `create`, `update` and `delete` (and `is_complete` where work goes on after them); the
kernel reads the provider framework's event, logs each step as a JSON line, and passes errors on with their reason,
which the framework shows in the stack's events.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict

logger = logging.getLogger("edge_constructs")
logger.setLevel(logging.INFO)


class ResourceError(Exception):
    """A custom resource cannot do what it was asked; the message is what a person reads in the stack's events."""


class Response(TypedDict, total=False):
    """What the provider framework takes from `on_event` and `is_complete`."""

    PhysicalResourceId: str
    IsComplete: bool
    Data: Mapping[str, str]


@dataclass(frozen=True)
class Request:
    """One event of a custom resource's life: `type_` is Create, Update or Delete.

    `physical_id` is absent at Create alone; `old` are the former properties, at Update alone.
    """

    type_: str
    properties: Mapping[str, Any]
    physical_id: str | None = None
    old: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> Request:
        """Read the provider framework's event."""
        return cls(
            type_=event["RequestType"],
            properties={k: v for k, v in event["ResourceProperties"].items() if k != "ServiceToken"},
            physical_id=event.get("PhysicalResourceId"),
            old=event.get("OldResourceProperties"),
        )

    def text(self, name: str) -> str:
        """A property that must be a non-empty string.

        Raises:
            ResourceError: it is missing, empty or something else.
        """
        value = self.properties.get(name)
        if not isinstance(value, str) or not value:
            raise ResourceError(f"property {name}: a non-empty string is expected, got {value!r}")
        return value


class Handler(Protocol):
    """A custom resource. Every method may be called again after it succeeded, and must then change nothing."""

    def apply(self, request: Request) -> Response:
        """Create or update; the physical id it returns stands for the properties' content."""

    def delete(self, request: Request) -> None:
        """Undo what `apply` did under `request.physical_id`, or leave what must outlive the resource."""


def handle(handler: Handler, event: Mapping[str, Any]) -> Response:
    """Serve one `on_event` call of the provider framework."""
    return _logged("on_event", event, lambda request: _dispatch(handler, request))


def complete(check: Callable[[Request], Response], event: Mapping[str, Any]) -> Response:
    """Serve one `is_complete` call; a deletion is complete as soon as it returned."""
    return _logged("is_complete", event, lambda r: Response(IsComplete=True) if r.type_ == "Delete" else check(r))


def content_id(name: str, properties: Mapping[str, Any]) -> str:
    """A physical id that changes when, and only when, the properties do: `<name>-<12 hex digits>`."""
    canonical = json.dumps(properties, sort_keys=True, separators=(",", ":"))
    return f"{name}-{hashlib.sha256(canonical.encode()).hexdigest()[:12]}"


def _dispatch(handler: Handler, request: Request) -> Response:
    if request.type_ == "Delete":
        handler.delete(request)
        return Response(PhysicalResourceId=request.physical_id or "never-created")
    return handler.apply(request)


def _logged(step: str, event: Mapping[str, Any], action: Callable[[Request], Response]) -> Response:
    resource = {"step": step, "resource": event.get("LogicalResourceId"), "request": event.get("RequestType")}
    try:
        request = Request.of(event)
        response = action(request)
    except Exception as error:
        # Without a traceback: Lambda's runtime logs it when the error leaves the handler.
        reason = f"{type(error).__name__}: {error}"
        logger.error(json.dumps({**resource, "outcome": "failed", "reason": reason}))  # noqa: TRY400
        raise
    logger.info(json.dumps({**resource, "outcome": "ok", "response": response}))
    return response
