# SPDX-License-Identifier: Apache-2.0
"""Whether a device runs what is declared, and runs it well; no calls to AWS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from operations.declared import Declared
from operations.heartbeats import Window
from stacks.environment import Verification

_UNFINISHED = frozenset({"QUEUED", "IN_PROGRESS"})
# A component whose recipe has nothing to run, such as a model's, is finished once it is installed.
_WELL = frozenset({"RUNNING", "FINISHED"})


class Kind(Enum):
    """What a finding means for the verification."""

    FAILED = "it will not get better"
    WAITING = "it may get better"
    SILENT = "the device says nothing, it may be offline"


@dataclass(frozen=True)
class Finding:
    """Something about a device, or a whole group, that is not as declared."""

    subject: str
    text: str
    kind: Kind

    def __str__(self) -> str:
        return f"{self.subject}: {self.text}"


@dataclass(frozen=True)
class Execution:
    """What a device did with the deployment; `modified` in seconds since 1970 UTC."""

    status: str
    reason: str
    modified: float


@dataclass(frozen=True)
class Observed:
    """A device as the cloud knows it.

    Attributes:
        status: HEALTHY or UNHEALTHY; None for a thing that has never been a core device.
        components: name to version and lifecycle state.
    """

    thing: str
    execution: Execution | None = None
    status: str | None = None
    components: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def judge_group(declared: Declared) -> Iterator[Finding]:
    """What is wrong with the deployment as a whole."""
    name, id_ = declared.group.name, declared.deployment_id
    if declared.status == "CANCELED":
        text = (
            f"deployment {id_} was cancelled, by its abort criteria or by somebody: see its devices' executions, "
            "then fix forward"
        )
        yield Finding(name, text, Kind.FAILED)
    elif not declared.active or declared.status == "INACTIVE":
        yield Finding(
            name,
            f"deployment {id_}, which stack {declared.group.stack} declares, is not the group's active one: another "
            "deployment superseded it, such as the restore of a former release. The same assembly cannot bring it "
            "back: revert the commit, or fix forward, and release that",
            Kind.FAILED,
        )


def judge_device(declared: Declared, device: Observed, window: Window, bounds: Verification) -> Iterator[Finding]:
    """What is wrong with a device; nothing, when it is verified.

    What comes later is looked at when all before it is right: a device that has not the deployment says nothing of it.
    """
    for judged in (
        _judge_execution(device),
        _judge_components(declared, device),
        _judge_silence(device, window, bounds),
        _judge_models(declared, device, window, bounds),
    ):
        findings = list(judged)
        yield from findings
        if findings:
            return


def _judge_execution(device: Observed) -> Iterator[Finding]:
    execution = device.execution
    if device.status is None:
        yield Finding(device.thing, "no core device has ever reported under this name", Kind.SILENT)
    elif execution is None or execution.status in _UNFINISHED:
        status = "QUEUED" if execution is None else execution.status
        kind = Kind.SILENT if status == "QUEUED" else Kind.WAITING
        yield Finding(device.thing, f"has not carried the deployment out: {status}", kind)
    elif execution.status != "SUCCEEDED":
        reason = f": {execution.reason}" if execution.reason else ""
        yield Finding(device.thing, f"deployment {execution.status}{reason}", Kind.FAILED)


def _judge_components(declared: Declared, device: Observed) -> Iterator[Finding]:
    for name, version in declared.versions.items():
        if name not in device.components:
            yield Finding(device.thing, f"component {name} is not installed, {version} is declared", Kind.WAITING)
            continue
        installed, state = device.components[name]
        if installed != version:
            text = f"component {name} is of version {installed}, {version} is declared"
            yield Finding(device.thing, text, Kind.WAITING)
        elif state == "BROKEN":
            yield Finding(device.thing, f"component {name} {version} is BROKEN: it ended again and again", Kind.FAILED)
        elif state not in _WELL:
            yield Finding(device.thing, f"component {name} {version} is {state}", Kind.WAITING)
    if device.status != "HEALTHY":
        yield Finding(device.thing, f"the core device is {device.status}", Kind.WAITING)


def _judge_silence(device: Observed, window: Window, bounds: Verification) -> Iterator[Finding]:
    if window.beats < bounds.heartbeats:
        text = f"silent: {window.beats} of {bounds.heartbeats} heartbeats since it carried the deployment out"
        yield Finding(device.thing, text, Kind.SILENT)


def _judge_models(declared: Declared, device: Observed, window: Window, bounds: Verification) -> Iterator[Finding]:
    models = {} if window.last is None else window.last.models
    for name, digest in declared.digests.items():
        if name not in models:
            yield Finding(device.thing, f"model {name} is not loaded", Kind.WAITING)
            continue
        model, grown = models[name], window.grown(name)
        if model.digest != digest:
            text = f"wrong digest: model {name} is loaded with {model.digest[:16]}…, {digest[:16]}… is declared"
            yield Finding(device.thing, text, Kind.FAILED)
        elif not model.counters.requests:
            text = f"model {name} is loaded, and was asked for no prediction yet"
            yield Finding(device.thing, text, Kind.WAITING)
        elif grown.requests:
            percentage = 100 * grown.failed / grown.requests
            if percentage > bounds.maximum_error_percentage:
                yield Finding(
                    device.thing,
                    f"error rate over the bound: {grown.failed:g} of {grown.requests:g} predictions of model {name} "
                    f"failed, {percentage:.3g} %; {bounds.maximum_error_percentage:g} % are allowed",
                    Kind.FAILED,
                )
            milliseconds = 1000 * grown.seconds / max(grown.predictions, 1)
            if milliseconds > bounds.maximum_latency_milliseconds:
                yield Finding(
                    device.thing,
                    f"latency over the bound: model {name} took {milliseconds:.3g} ms on average of "
                    f"{grown.predictions:g} predictions; {bounds.maximum_latency_milliseconds:g} ms are allowed",
                    Kind.FAILED,
                )
