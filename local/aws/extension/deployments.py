# SPDX-License-Identifier: Apache-2.0
"""Deployments and their executions on devices.

As in AWS, an execution belongs to a deployment and a device; a device is reached by its own ARN and by its groups'.
A new revision for a target supersedes the one before it, which is never sent again, not even when the new one is
deleted: devices keep what they run. Membership of groups in groups is not followed.
"""

import dataclasses
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from local.aws.extension.components import ComponentVersions, is_version
from local.aws.extension.errors import ApiError, conflict, invalid, not_found
from local.aws.extension.world import World

KIND = "deployment"
PUBLIC_PREFIX = "aws.greengrass."
TERMINAL = frozenset({"SUCCEEDED", "FAILED", "REJECTED", "CANCELED"})
REPORTED = frozenset({"IN_PROGRESS", "SUCCEEDED", "FAILED", "REJECTED"})


@dataclasses.dataclass
class Execution:
    """What one device did with one deployment; ``modified`` in seconds since the epoch."""

    status: str
    modified: float
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Deployment:
    """One revision of the component set of a target.

    Attributes:
        request: The members of CreateDeployment as they came.
        revision: Counts the target's deployments from 1.
        closed: CANCELED or INACTIVE when the deployment was cancelled or superseded, else None.
        executions: By thing name, of the devices that have one; the others of the target are QUEUED.
    """

    id: str
    job_id: str
    created: float
    request: Mapping[str, Any]
    revision: int
    closed: str | None = None
    executions: dict[str, Execution] = dataclasses.field(default_factory=dict)

    @property
    def target(self) -> str:
        """ARN of the thing or thing group."""
        return str(self.request["targetArn"])

    def execution(self, thing: str) -> Execution:
        """The device's execution, QUEUED (or CANCELED with the deployment) before it said anything."""
        unseen = Execution(status="CANCELED" if self.closed else "QUEUED", modified=self.created)
        return self.executions.get(thing, unseen)

    def close(self, status: str, now: float) -> None:
        """Cancels the deployment and what devices have not finished of it."""
        self.closed = status
        for execution in self.executions.values():
            if execution.status not in TERMINAL:
                execution.status, execution.modified = "CANCELED", now


class Deployments:
    """The deployments of one account and region."""

    def __init__(self, world: World, components: ComponentVersions) -> None:
        self._world = world
        self._components = components
        self._deployments: dict[str, Deployment] = {}
        self._revisions: dict[str, int] = {}

    def all(self) -> Sequence[Deployment]:
        """Every deployment, newest first."""
        return list(reversed(self._deployments.values()))

    def get(self, deployment_id: str) -> Deployment:
        """The deployment; ``ResourceNotFoundException`` when there is none."""
        if deployment_id not in self._deployments:
            raise not_found(KIND, deployment_id)
        return self._deployments[deployment_id]

    def latest(self, target: str) -> Deployment | None:
        """The target's newest existing revision."""
        return next((deployment for deployment in self.all() if deployment.target == target), None)

    def status(self, deployment: Deployment) -> str:
        """ACTIVE until every device of the target has finished, then COMPLETED or FAILED; or why it was closed."""
        things = self._world.things_of(deployment.target) or ()
        statuses = {deployment.execution(thing).status for thing in things}
        if deployment.closed:
            return deployment.closed
        if not statuses or statuses - TERMINAL:
            return "ACTIVE"
        return "COMPLETED" if statuses == {"SUCCEEDED"} else "FAILED"

    def create(self, request: Mapping[str, Any]) -> Deployment:
        """Adds a revision for a target and supersedes the one before.

        Raises:
            ApiError: ``ResourceNotFoundException`` for an unknown target or component version;
                ``ValidationException`` for a version or a configuration that is not one.
        """
        target = request["targetArn"]
        if self._world.things_of(target) is None:
            raise not_found("deployment target (thing or thing group)", target)
        for name, component in request.get("components", {}).items():
            self._check(name, component)
        previous = self.latest(target)
        if previous is not None and previous.closed is None:
            previous.close("INACTIVE", self._world.now())
        self._revisions[target] = self._revisions.get(target, 0) + 1
        deployment = Deployment(
            id=str(uuid.uuid4()),
            job_id=str(uuid.uuid4()),
            created=self._world.now(),
            request=request,
            revision=self._revisions[target],
        )
        self._deployments[deployment.id] = deployment
        return deployment

    def cancel(self, deployment_id: str) -> Deployment:
        """Closes an ACTIVE deployment; ``ConflictException`` for any other."""
        deployment = self.get(deployment_id)
        status = self.status(deployment)
        if status != "ACTIVE":
            raise conflict(KIND, deployment_id, f"deployment {deployment_id} is {status}; only ACTIVE is cancelled")
        deployment.close("CANCELED", self._world.now())
        return deployment

    def delete(self, deployment_id: str) -> None:
        """Forgets a deployment that is not ACTIVE; devices go on running it."""
        deployment = self.get(deployment_id)
        if self.status(deployment) == "ACTIVE":
            raise conflict(KIND, deployment_id, f"deployment {deployment_id} is ACTIVE; cancel it before deleting it")
        del self._deployments[deployment_id]

    def effective(self, thing: str) -> Sequence[tuple[Deployment, Execution]]:
        """What a device has to run: the newest revision of each of its targets, with its execution."""
        targets = self._world.targets_of(thing)
        if targets is None:
            raise not_found("core device", thing)
        newest = (self.latest(target) for target in targets)
        return [
            (deployment, deployment.execution(thing))
            for deployment in newest
            if deployment is not None and deployment.closed != "INACTIVE"
        ]

    def report(self, *, thing: str, job_id: str, update: Mapping[str, Any]) -> None:
        """Takes a device's word on its execution, as the update of an AWS IoT job does.

        Raises:
            ApiError: ``InvalidStateTransitionException`` (409) when the execution has finished already;
                ``InvalidRequestException`` for a status that devices cannot give.
        """
        deployment = self.of_job(job_id)
        if deployment is None or thing not in (self._world.things_of(deployment.target) or ()):
            raise not_found("job execution", f"{job_id} on {thing}")
        status = update.get("status")
        if status not in REPORTED:
            raise ApiError(
                "InvalidRequestException",
                f"status of job {job_id} on {thing} is {status!r}, expected one of {', '.join(sorted(REPORTED))}",
            )
        before = deployment.execution(thing)
        if before.status in TERMINAL:
            raise ApiError(
                "InvalidStateTransitionException",
                f"job {job_id} on {thing} is {before.status} already and cannot become {status}",
                409,
            )
        deployment.executions[thing] = Execution(
            status=status, modified=self._world.now(), details=dict(update.get("statusDetails") or {})
        )

    def of_job(self, job_id: str) -> Deployment | None:
        """The deployment that an AWS IoT job carries out."""
        return next((deployment for deployment in self.all() if deployment.job_id == job_id), None)

    def _check(self, name: str, component: Mapping[str, Any]) -> None:
        version = component.get("componentVersion", "")
        if not is_version(version):
            raise invalid(f"component {name} of the deployment has version {version!r}, expected one such as '1.0.0'")
        if not name.startswith(PUBLIC_PREFIX) and self._components.get(name, version) is None:
            raise not_found("component version", f"{name}:{version}")
        merge = component.get("configurationUpdate", {}).get("merge")
        if merge is not None:
            try:
                document = json.loads(merge)
            except ValueError as error:
                raise invalid(f"configurationUpdate.merge of component {name} is not JSON: {error}") from error
            if not isinstance(document, dict):
                raise invalid(f"configurationUpdate.merge of component {name} is not a JSON object: {merge[:80]}")
