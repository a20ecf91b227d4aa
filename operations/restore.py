# SPDX-License-Identifier: Apache-2.0
"""The way back after a failed verification: new deployments of the last good release's documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from operations.declared import Group, groups_of
from operations.documents import Document, document_of
from operations.errors import OperationError
from operations.greengrass import pages
from operations.judgement import Execution
from operations.last_good import last_good_or_fail
from operations.observe import execution_of
from operations.target import Target
from operations.verify import Clock

_UNFINISHED = frozenset({"QUEUED", "IN_PROGRESS"})
_POLL_SECONDS = 5.0
# A deployment that ended so left devices with something else than it says.
_ENDED_BADLY = frozenset({"CANCELED", "FAILED", "INACTIVE"})


def restore(
    target: Target, *, writer: Target, clock: Clock | None = None, wait_seconds: float | None = None
) -> Mapping[str, str]:
    """Deploy the last good release to every group that was told something else since, and wait for its devices.

    Args:
        target: the environment, and clients that may read it.
        writer: the same with clients that may deploy to its groups.
        clock: the machine's.
        wait_seconds: for all groups together; `verification.wait_minutes` by default.

    Returns:
        Each group's new deployment; none where all groups have the last good release.

    Raises:
        OperationError: there is no last good release, or devices did not return to it.
    """
    documents = last_good_or_fail(target)
    made: dict[str, str] = {}
    for group in groups_of(target):
        if (document := _document_for(group, documents, target)) is None:
            continue
        answer = writer.client("greengrassv2").create_deployment(
            targetArn=target.arn_of_group(group.name),
            deploymentName=f"{target.environment.namespace}-restore",
            **document,
        )
        made[group.name] = str(answer["deploymentId"])
        target.say(f"restoring {group.name}: deployment {made[group.name]} of the last good release")
    seconds = 60.0 * target.environment.verification.wait_minutes if wait_seconds is None else wait_seconds
    _wait(target, made, seconds, clock or Clock())
    return made


def _document_for(group: Group, documents: Mapping[str, Document], target: Target) -> Document | None:
    """The document that a group has to return to; None when it has it, or never had any."""
    client = target.client("greengrassv2")
    latest = pages(
        client,
        "list_deployments",
        "deployments",
        targetArn=target.arn_of_group(group.name),
        historyFilter="LATEST_ONLY",
    )
    if not latest:
        target.say(f"{group.name}: nothing was ever deployed there")
        return None
    # A group that is new since the last good release returns to what another one had: a release is one for all.
    wanted = documents.get(group.name) or next(iter(documents.values()))
    deployment = client.get_deployment(deploymentId=latest[0]["deploymentId"])
    if document_of(deployment) == wanted and deployment["deploymentStatus"] not in _ENDED_BADLY:
        target.say(f"{group.name}: has the last good release")
        return None
    return wanted


def _wait(target: Target, made: Mapping[str, str], seconds: float, clock: Clock) -> None:
    deadline = clock.now() + seconds
    groups = [group for group in groups_of(target) if group.name in made]
    said: dict[str, str] = {}
    while True:
        executions = {thing: _execution(target, thing, made[group.name]) for group in groups for thing in group.things}
        for thing, execution in executions.items():
            if said.get(thing) != execution.status:
                target.say(f"  {thing}: {execution.status}")
            said[thing] = execution.status
        waiting = [thing for thing, execution in executions.items() if execution.status in _UNFINISHED]
        if not waiting or clock.now() >= deadline:
            break
        clock.sleep(min(_POLL_SECONDS, seconds / 10))
    _check(executions, waiting, seconds)


def _execution(target: Target, thing: str, deployment_id: str) -> Execution:
    client = target.client("greengrassv2")
    return execution_of(client, thing, deployment_id) or Execution("QUEUED", "", 0)


def _check(executions: Mapping[str, Execution], waiting: Sequence[str], seconds: float) -> None:
    failed = [
        f"{thing}: {execution.status}{f' ({execution.reason})' if execution.reason else ''}"
        for thing, execution in executions.items()
        if execution.status not in {"SUCCEEDED", *_UNFINISHED}
    ]
    late = [f"{thing}: not back within {seconds / 60:g} minutes" for thing in waiting]
    if failed or late:
        raise OperationError(
            "the last good release is deployed again, but not all devices run it: " + "; ".join([*failed, *late]) + ". "
            "Those that were offline take it when they are back; look at the others' logs"
        )
