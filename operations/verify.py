# SPDX-License-Identifier: Apache-2.0
"""Verification: whether devices run the release that the stacks declare, and run it well."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from operations.declared import Declared, Group, again, declared, groups_of
from operations.errors import OperationError
from operations.heartbeats import Window, read_heartbeats
from operations.judgement import Finding, Kind, judge_device, judge_group
from operations.observe import observe
from operations.target import Target

_SLOWEST_POLL_SECONDS = 10.0
_NAMED = 5  # devices in a line of progress
_LISTED = 50  # findings in a message


class VerificationError(OperationError):
    """The release does not do on the devices what it must; the message says why, by device."""


@dataclass(frozen=True)
class Clock:
    """Monotonic seconds, and how to let some pass."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def verify(target: Target, *, first: bool, clock: Clock | None = None, wait_seconds: float | None = None) -> None:
    """Wait until the devices show that they run what is declared.

    Args:
        target: the environment, and clients that may read it.
        first: only the group that the release reaches first, otherwise every group.
        clock: the machine's.
        wait_seconds: for each group; `verification.wait_minutes` by default.

    Raises:
        RefusedError: nothing is deployed that could be verified.
        VerificationError: it is not so, or did not become so in time.
    """
    seconds = 60.0 * target.environment.verification.wait_minutes if wait_seconds is None else wait_seconds
    for group in groups_of(target)[: 1 if first else None]:
        target.say(f"verifying {group.name}: {len(group.things)} devices, {seconds / 60:g} minutes at the most")
        _verify_group(target, group, seconds, clock or Clock())


def _verify_group(target: Target, group: Group, seconds: float, clock: Clock) -> None:
    deadline = clock.now() + seconds
    windows = {thing: Window() for thing in group.things}
    said = ""
    release = declared(target, group)
    while True:
        findings = _look(target, release, windows)
        failed = [finding for finding in findings if finding.kind is Kind.FAILED]
        late = clock.now() >= deadline
        if failed or (late and not _tolerable(target, group, findings)):
            raise VerificationError(_reasons(group, failed or findings, waited=None if failed else seconds))
        if not findings or late:
            break
        if (line := _progress(group, findings)) != said:
            target.say(line)
        said = line
        clock.sleep(min(_SLOWEST_POLL_SECONDS, target.environment.heartbeat.period_seconds / 3, seconds))
        release = again(target, release)
    for finding in findings:
        target.say(f"  tolerated: {finding}")
    for line in _results(release, windows):
        target.say(line)


def _look(target: Target, release: Declared, windows: Mapping[str, Window]) -> list[Finding]:
    found = list(judge_group(release))
    if found:
        return found
    bounds = target.environment.verification
    observed = [observe(target, thing, release.deployment_id) for thing in windows]
    heartbeats = read_heartbeats(target, list(windows))
    for device in observed:
        window, execution = windows[device.thing], device.execution
        done = execution is not None and execution.status == "SUCCEEDED"
        if device.thing in heartbeats:
            deployed = execution.modified if execution is not None and done else None
            window.add(heartbeats[device.thing], deployed=deployed)
        found += judge_device(release, device, window, bounds)
    if not found and release.status == "FAILED":
        text = f"deployment {release.deployment_id} FAILED, on devices that are not of this environment"
        found.append(Finding(release.group.name, text, Kind.FAILED))
    return found


def _tolerable(target: Target, group: Group, findings: Sequence[Finding]) -> bool:
    """Whether all that is left are silent devices, and they are few enough."""
    silent = {finding.subject for finding in findings}
    share = 100 * len(silent) / len(group.things)
    allowed = target.environment.verification.maximum_silent_percentage
    return share <= allowed and all(finding.kind is Kind.SILENT for finding in findings)


def _progress(group: Group, findings: Sequence[Finding]) -> str:
    waiting = list(dict.fromkeys(finding.subject for finding in findings))
    lines = [f"  {group.name}: {len(group.things) - len(waiting)} of {len(group.things)} devices are verified"]
    for subject in waiting[:_NAMED]:
        lines += [f"    {finding}" for finding in findings if finding.subject == subject]
    if len(waiting) > _NAMED:
        lines.append(f"    and {len(waiting) - _NAMED} more")
    return "\n".join(lines)


def _reasons(group: Group, findings: Sequence[Finding], *, waited: float | None) -> str:
    when = "" if waited is None else f" within {waited / 60:g} minutes"
    lines = [f"{group.name}: the release is not verified{when}:", *(f"  {finding}" for finding in findings[:_LISTED])]
    if len(findings) > _LISTED:
        lines.append(f"  and {len(findings) - _LISTED} more")
    return "\n".join(lines)


def _results(release: Declared, windows: Mapping[str, Window]) -> list[str]:
    lines = [f"verified {release.group.name}: deployment {release.deployment_id}"]
    for model, digest in release.digests.items():
        grown = [window.grown(model) for window in windows.values()]
        requests, failed = sum(item.requests for item in grown), sum(item.failed for item in grown)
        if not requests:
            judged = "no prediction was asked for meanwhile: error rate and latency are not judged"
        else:
            milliseconds = 1000 * sum(item.seconds for item in grown) / max(requests - failed, 1)
            judged = f"{requests:g} predictions, {failed:g} failed, {milliseconds:.3g} ms on average"
        lines.append(f"  model {model}, digest {digest[:16]}…: {judged}")
    return lines
