# SPDX-License-Identifier: Apache-2.0
"""What compilation and edge packaging jobs of SageMaker have in common as custom resources.

Neither has a CloudFormation type. A job's name can be used once: the name made of a resource's properties finds the
job again after a replayed event or a rollback, and a number is added where a job of that name failed before.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from edge_constructs.handler_kernel import Request, ResourceError, Response, content_id

_ATTEMPTS = 9
_LONGEST_NAME = 63
_SUFFIX = len("-0123456789ab-9")
_BUSY = frozenset({"STARTING", "INPROGRESS", "STOPPING"})
_DEAD = frozenset({"FAILED", "STOPPED"})
# A job that is being stopped gives nothing to whoever comes now: what follows a cancelled creation starts another.
_ENDING = _DEAD | {"STOPPING"}
# What the next poll asks again after: too many calls, or a fault of the service's own.
_PASSING = frozenset(
    {
        "ThrottlingException",
        "Throttling",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "InternalFailure",
        "InternalError",
        "InternalServerError",
        "ServiceUnavailable",
        "ServiceUnavailableException",
    }
)
_ABSENT = frozenset({"ResourceNotFound", "ResourceNotFoundException"})
_RETIRED = "We are retiring"


@dataclass(frozen=True)
class JobService:
    """One kind of job: its calls, and where the answers say how it stands.

    `start(name, properties)` creates a job, `describe(name)` and `stop(name)` are the service's own; `attributes` are
    what a completed job's description gives to the stack, and raise where it is no success after all; `same` tells
    whether a description is of a job with these properties; `spent` whether a completed job came to nothing, so that
    only another one can help.
    """

    kind: str
    status: str
    reason: str
    start: Callable[[str, Request], Any]
    describe: Callable[[str], Mapping[str, Any]]
    stop: Callable[[str], Any]
    attributes: Callable[[Mapping[str, Any], Request], Mapping[str, str] | None]
    same: Callable[[Mapping[str, Any], Request], bool]
    spent: Callable[[Mapping[str, Any]], bool]


class SageMakerJob:
    """A job as a custom resource: starts at `apply`, is watched by `describe`, is stopped at `delete` while it runs.

    Properties that every kind has: JobName (the name's stem), TimeoutSeconds.
    """

    def __init__(self, service: JobService, *, now: Callable[[], dt.datetime]) -> None:
        self._service = service
        self._now = now

    def apply(self, request: Request) -> Response:
        """Start the job, or find the one that these properties started before.

        Raises:
            ResourceError: the service is retired, or every name is taken by a job that failed.
        """
        stem = content_id(request.text("JobName")[: _LONGEST_NAME - _SUFFIX].rstrip("-"), request.properties)
        for attempt in range(1, _ATTEMPTS + 1):
            name = stem if attempt == 1 else f"{stem}-{attempt}"
            found = self._find(name)
            if found is None:
                self._start(name, request)
                return Response(PhysicalResourceId=name)
            status = found[self._service.status]
            if status in _ENDING:
                continue
            if not self._service.same(found, request):
                raise ResourceError(f"{self._what(name)} exists with other properties; give the job another name")
            if status in _BUSY or not self._service.spent(found):
                return Response(PhysicalResourceId=name)
        raise ResourceError(
            f"{self._what(stem)}: {_ATTEMPTS} jobs of this name failed, and names cannot be used again: change what is "
            "wrong, or the job's name"
        )

    def describe(self, request: Request) -> Response:
        """Whether the job is done, and its attributes.

        Raises:
            ResourceError: it failed, was stopped, is gone, or did not end in time: it is stopped then.
        """
        service, name = self._service, request.physical_id or ""
        try:
            found = self._find(name)
        except ClientError as error:
            if error.response["Error"]["Code"] in _PASSING:
                return Response(IsComplete=False)
            raise
        if found is None:
            raise ResourceError(f"{self._what(name)} is gone: was it deleted? deploy again")
        status = found[service.status]
        if status in _DEAD:
            raise ResourceError(f"{self._what(name)} is {status}: {found.get(service.reason) or 'no reason was given'}")
        if status not in _BUSY and (attributes := service.attributes(found, request)) is not None:
            return Response(IsComplete=True, Data=attributes)
        limit = request.seconds("TimeoutSeconds")
        if (self._now() - found["CreationTime"]).total_seconds() > limit:
            self._stop(name)
            raise ResourceError(f"{self._what(name)} is still {status} after {limit} seconds: it was stopped")
        return Response(IsComplete=False)

    def delete(self, request: Request) -> None:
        """Stop the job if it still runs. What it made stays: a component version may name it."""
        name = request.physical_id or ""
        if "::" in name or not name:  # the framework's mark of a creation that failed before there was a job
            return
        try:
            found = self._find(name)
        except ResourceError:  # retired: AWS deleted every job
            return
        if found is not None and found[self._service.status] in _BUSY - {"STOPPING"}:
            self._stop(name)

    def _start(self, name: str, request: Request) -> None:
        try:
            self._service.start(name, request)
        except ClientError as error:
            self._refuse_retired(error)
            # ResourceInUse: a replayed event runs beside this one, and its job is ours as well.
            if error.response["Error"]["Code"] != "ResourceInUse":
                raise

    def _find(self, name: str) -> Mapping[str, Any] | None:
        try:
            return self._service.describe(name)
        except ClientError as error:
            self._refuse_retired(error)
            if _absent(error):
                return None
            raise

    def _stop(self, name: str) -> None:
        try:
            self._service.stop(name)
        except ClientError as error:
            # It ended in the meantime, or is gone: stopped either way.
            if not _absent(error) and error.response["Error"]["Code"] != "ValidationException":
                raise

    def _refuse_retired(self, error: ClientError) -> None:
        if _RETIRED in error.response["Error"].get("Message", ""):
            raise ResourceError(
                f"{self._service.kind}: AWS answers that SageMaker Edge Manager is retired (26 April 2024): set "
                'edge_manager = "open" in the environment, which packages and runs the same models without it'
            ) from error

    def _what(self, name: str) -> str:
        return f"{self._service.kind} {name}"


def _absent(error: ClientError) -> bool:
    """SageMaker answers with either for a job that is not there."""
    code, message = error.response["Error"]["Code"], error.response["Error"].get("Message", "").lower()
    missing = any(text in message for text in ("could not find", "does not exist", "not found"))
    return code in _ABSENT or (code == "ValidationException" and missing)


def utc_now() -> dt.datetime:
    """The time, aware of its zone as boto3's are."""
    return dt.datetime.now(tz=dt.UTC)
