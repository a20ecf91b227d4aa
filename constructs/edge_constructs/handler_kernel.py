# SPDX-License-Identifier: Apache-2.0
"""What every custom resource's Lambda handler shares; standard library only.

A handler is a class with `apply` and `delete` (and `describe` where work goes on after them); the kernel reads the
provider framework's event, bounds the work by the time that Lambda leaves it, logs each step as a JSON line, and
passes errors on with their reason, which the framework shows in the stack's events.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypedDict

logger = logging.getLogger("edge_constructs")
logger.setLevel(logging.INFO)

# CloudFormation takes an answer of 4096 bytes: a longer one is refused, and the stack waits for its time-out. The rest
# is for the ids, and for what the framework adds to a reason. In bytes as JSON escapes them.
_LONGEST_REASON = 1900
_LONGEST_DATA = 3072
# What a handler keeps back of Lambda's time to tidy up and to answer.
_RESERVE_SECONDS = 20


class ResourceError(Exception):
    """A custom resource cannot do what it was asked; the message is what a person reads in the stack's events."""


class Response(TypedDict, total=False):
    """What the provider framework takes from `on_event` and `is_complete`."""

    PhysicalResourceId: str
    IsComplete: bool
    Data: Mapping[str, str]


class Deadline:
    """The time until which work must be done.

    Args:
        seconds: from now on; None: there is no bound.
        clock: seconds, monotonic.
    """

    def __init__(self, seconds: float | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = None if seconds is None else clock() + seconds

    def check(self, work: str) -> None:
        """Give up before Lambda ends the process, which would leave no reason.

        Raises:
            ResourceError: the time is over; `work` is named.
        """
        if self._end is not None and self._clock() > self._end:
            raise ResourceError(f"{work}: not done within the handler's time; what was begun is undone: deploy again")


@dataclass(frozen=True)
class Request:
    """One event of a custom resource's life: `type_` is Create, Update or Delete.

    `physical_id` is absent at Create alone; `old` are the former properties, at Update alone.
    """

    type_: str
    properties: Mapping[str, Any]
    physical_id: str | None = None
    old: Mapping[str, Any] | None = None
    deadline: Deadline = field(default_factory=Deadline)

    @classmethod
    def of(cls, event: Mapping[str, Any], deadline: Deadline) -> Request:
        """Read the provider framework's event."""
        meta = {"ServiceToken", "ServiceTimeout"}
        return cls(
            type_=event["RequestType"],
            properties={k: v for k, v in event["ResourceProperties"].items() if k not in meta},
            physical_id=event.get("PhysicalResourceId"),
            old=event.get("OldResourceProperties"),
            deadline=deadline,
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

    def optional(self, name: str) -> str | None:
        """A property that may be missing or empty.

        Raises:
            ResourceError: it is something else than a string.
        """
        return self.text(name) if self.properties.get(name) else None

    def texts(self, name: str) -> Sequence[str]:
        """A property that must be a list of at least one non-empty string.

        Raises:
            ResourceError: it is something else.
        """
        value = self.properties.get(name)
        if not isinstance(value, list) or not value or not all(isinstance(item, str) and item for item in value):
            raise ResourceError(f"property {name}: a list of non-empty strings is expected, got {value!r}")
        return value

    def table(self, name: str) -> Mapping[str, Any]:
        """A property that must be an object.

        Raises:
            ResourceError: it is something else.
        """
        value = self.properties.get(name)
        if not isinstance(value, Mapping):
            raise ResourceError(f"property {name}: an object is expected, got {value!r}")
        return value

    def seconds(self, name: str) -> int:
        """A property that must be a whole number above 0; CloudFormation makes texts of numbers.

        Raises:
            ResourceError: it is something else.
        """
        value = str(self.properties.get(name))
        if not value.isascii() or not value.isdigit() or not int(value):
            raise ResourceError(f"property {name}: a whole number of seconds is expected, got {value!r}")
        return int(value)


class Handler(Protocol):
    """A custom resource. Every method may be called again after it succeeded, and must then change nothing."""

    def apply(self, request: Request) -> Response:
        """Create or update; the physical id it returns stands for the properties' content."""

    def delete(self, request: Request) -> None:
        """Undo what `apply` did under `request.physical_id`, or leave what must outlive the resource."""


def handle(handler: Handler, event: Mapping[str, Any], context: Any = None) -> Response:
    """Serve one `on_event` call of the provider framework."""
    return _logged("on_event", event, context, lambda request: _dispatch(handler, request))


def complete(check: Callable[[Request], Response], event: Mapping[str, Any], context: Any = None) -> Response:
    """Serve one `is_complete` call; a deletion is complete as soon as it returned."""
    return _logged(
        "is_complete", event, context, lambda r: Response(IsComplete=True) if r.type_ == "Delete" else check(r)
    )


def content_id(name: str, properties: Mapping[str, Any]) -> str:
    """A physical id that changes when, and only when, the properties do: `<name>-<12 hex digits>`."""
    canonical = json.dumps(properties, sort_keys=True, separators=(",", ":"))
    return f"{name}-{hashlib.sha256(canonical.encode()).hexdigest()[:12]}"


def _dispatch(handler: Handler, request: Request) -> Response:
    if request.type_ == "Delete":
        handler.delete(request)
        return Response(PhysicalResourceId=request.physical_id or "never-created")
    return handler.apply(request)


def _deadline(context: Any) -> Deadline:
    """Lambda's context tells how much time is left; a test may give none."""
    if context is None:
        return Deadline()
    return Deadline(context.get_remaining_time_in_millis() / 1000 - _RESERVE_SECONDS)


def _encoded_size(value: Any) -> int:
    return len(json.dumps(value))


def _cut(reason: str) -> str:
    """As much of it as CloudFormation takes."""
    size = 2  # the quotation marks
    for index, character in enumerate(reason):
        size += _encoded_size(character) - 2
        if size > _LONGEST_REASON:
            return reason[:index]
    return reason


def _check_data(response: Response) -> None:
    if (size := _encoded_size(response.get("Data", {}))) > _LONGEST_DATA:
        name, value = max(response["Data"].items(), key=lambda item: _encoded_size(item[1]))
        raise ResourceError(
            f"the resource's attributes have {size} bytes, and CloudFormation takes {_LONGEST_DATA}: the longest is "
            f"{name}, of {_encoded_size(value)} bytes: shorten what it is made of"
        )


def _logged(step: str, event: Mapping[str, Any], context: Any, action: Callable[[Request], Response]) -> Response:
    resource = {"step": step, "resource": event.get("LogicalResourceId"), "request": event.get("RequestType")}
    try:
        request = Request.of(event, _deadline(context))
        response = action(request)
        _check_data(response)
    except Exception as error:
        # Without a traceback: Lambda's runtime logs it when the error leaves the handler.
        reason = f"{type(error).__name__}: {error}"
        logger.error(json.dumps({**resource, "outcome": "failed", "reason": reason}))  # noqa: TRY400
        if _encoded_size(str(error)) > _LONGEST_REASON:
            raise ResourceError(f"{_cut(reason)} ... (the whole reason is in the handler's log)") from error
        raise
    logger.info(json.dumps({**resource, "outcome": "ok", "response": response}))
    return response
