# SPDX-License-Identifier: Apache-2.0
"""What of a change needs a decision, and what a reviewer should not miss."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from change_report.artifacts import ComponentChange
from change_report.environments import EnvironmentChange
from change_report.model_changes import ModelChange
from change_report.permissions import PermissionChange
from change_report.resources import ResourceChange

_LOSING = ("replaced", "may be replaced", "removed")


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Something that is not to happen without a person's yes; `environments` is empty where all are meant.

    `reason` says how it came, where that is known.
    """

    kind: str
    environments: tuple[str, ...]
    text: str
    reason: str = ""


def decisions(environments: Iterable[EnvironmentChange], models: Iterable[ModelChange]) -> list[Decision]:
    """Replaced or removed state, wider permissions, models of which nothing is known."""
    found = [
        Decision(kind="model without evaluation", environments=(), text=f"model {model.name}: {model.unevaluated}")
        for model in models
        if model.unevaluated
    ]
    for environment in environments:
        found += _of(environment)
    return found


def notes(
    components: Iterable[ComponentChange], models: Iterable[ModelChange], environments: Iterable[EnvironmentChange]
) -> Iterator[str]:
    """What needs no decision by itself, and is easily missed."""
    for model in models:
        yield from (f"model {model.name}: {note}" for note in model.notes)
        if model.before and model.after is None:
            yield f"model {model.name} is gone from models/"
    for component in components:
        if component.before == component.after and component.files:
            yield f"{component.name}: its content changed and its version did not: run `make lock`"
        for kept in component.kept_defaults:
            yield (
                f"{component.name}: the new default of {kept} reaches new devices only: devices that have the "
                "component keep the former value until a deployment merges or resets it"
            )
    for environment in environments:
        gone = [leaf.path[0] for leaf in environment.alarms if leaf.after is None and len(leaf.path) == 1]
        if gone and environment.status == "changed":
            yield f"{environment.title}: alarms removed: {', '.join(gone)}"


def _of(environment: EnvironmentChange) -> Iterator[Decision]:
    if environment.status == "removed":
        yield Decision(
            kind="environment removed",
            environments=(environment.title,),
            text="the environment is gone from environments/: nothing deletes its stacks: see to `make destroy`",
        )
        return
    for resource in environment.resources:
        if resource.state and resource.action in _LOSING:
            kind = "state removed" if resource.action == "removed" else "state replaced"
            yield Decision(kind=kind, environments=(environment.title,), text=_lost(resource))
    beyond = f" (beyond what {environment.like} has)" if environment.like else ""
    for text, reason in _widened(environment.permissions):
        yield Decision(
            kind="privilege widened", environments=(environment.title,), text=f"{text}{beyond}", reason=reason
        )


def _widened(changes: Iterable[PermissionChange]) -> Iterator[tuple[str, str]]:
    """Statement by statement, with how it came; what a new role, resource or component brings stands together."""
    new: dict[str, list[str]] = {}
    for change in changes:
        if change.direction == "widened" and change.is_new:
            new.setdefault(change.holder, []).append(change.text.removeprefix(change.holder).strip())
        elif change.direction == "widened":
            yield change.text, change.reason
    for holder, texts in new.items():
        yield f"new: {holder} {'; '.join(texts)}", ""


def _lost(resource: ResourceChange) -> str:
    why = ", ".join(leaf.name for leaf in resource.leaves[:3])
    reason = f" because of {why}" if why and resource.action != "removed" else ""
    kept = "; the former one is kept" if resource.kept else ""
    return f"{resource.title} is {resource.action}{reason}: {resource.state}{kept}".replace("is may be", "may be")
