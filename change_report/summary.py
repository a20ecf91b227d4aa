# SPDX-License-Identifier: Apache-2.0
"""The one paragraph: what a manual approval carries, and what stands on top of every format."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterator

from change_report.artifacts import ComponentChange
from change_report.environments import EnvironmentChange
from change_report.model_changes import ModelChange
from change_report.phrases import brief, counted, dollar_move, listed, move, short
from change_report.report import Report
from change_report.verdict import Decision

# CodePipeline's manual approval takes no longer text.
LIMIT = 1000
_FIRST = 3
_LINE = 200


def verdict(report: Report) -> str:
    """The verdict in a few words."""
    if report.decisions:
        return f"Needs a decision: {counted(len(together(report)), 'reason')}"
    return "Nothing changes" if report.nothing else "Harmless: nothing needs a decision"


def summary(report: Report) -> str:
    """One paragraph of at most `LIMIT` characters: what needs a decision first, then what changes."""
    text = f"Against {report.base}: {' '.join(_sentences(report))}"
    return text if len(text) <= LIMIT else f"{text[: LIMIT - 1].rsplit(' ', 1)[0]}…"


def together(report: Report) -> list[Decision]:
    """Decisions; one that several environments need, but for their names, once and in the words of the first."""
    changes = {change.title: change for change in report.environments}
    found: dict[tuple[str, str], Decision] = {}
    for one in report.decisions:
        text = one.text
        for title in one.environments:
            text = changes[title].anonymous(text)
        first = found.setdefault((one.kind, text), one)
        if first is not one:
            found[one.kind, text] = dataclasses.replace(first, environments=first.environments + one.environments)
    return list(found.values())


def _sentences(report: Report) -> Iterator[str]:
    if report.nothing:
        yield "nothing changes in any environment."
        return
    if found := together(report):
        texts = "; ".join(textwrap.shorten(decision_line(one), _LINE, placeholder=" …") for one in found[:_FIRST])
        more = f"; and {len(found) - _FIRST} more" if len(found) > _FIRST else ""
        yield f"needs a decision: {texts}{more}."
    else:
        yield "nothing needs a decision."
    if report.components:
        yield f"Components: {'; '.join(map(component_line, report.components))}."
    yield from (f"Model {model_line(model)}." for model in report.models)
    for names in report.alike:
        changes = report.group(names)
        yield f"{listed([change.title for change in changes])}: {environment_line(changes[0])}."
    if quiet := [change.title for change in report.environments if change.status == "unchanged"]:
        yield f"{listed(quiet)}: no change."
    if report.pins:
        yield f"{counted(len(report.pins), 'package')} that it is built with moved."
    if report.assets:
        yield f"{counted(len(report.assets), 'asset')} with other content."
    if total := sum(change.cost.move for change in report.environments):
        yield f"Estimated cost {dollar_move(total)} USD a month."


def decision_line(one: Decision) -> str:
    """A decision and where it is to be taken."""
    text = brief(one.text)
    return f"{listed(one.environments)}: {text}" if one.environments else text


def component_line(change: ComponentChange) -> str:
    """A component's versions."""
    only = " (comments and layout only)" if change.same_program else ""
    return f"{short(change.name)} {move(change.before, change.after)}{only}"


def model_line(change: ModelChange) -> str:
    """A model's versions, and what was measured."""
    before, after = change.before, change.after
    if before is None or after is None:
        return f"{change.name} {move(before and before.version, after and after.version)}"
    versions = move(before.version, after.version) if before.version != after.version else before.version
    former, latter = before.evaluation.get("accuracy"), after.evaluation.get("accuracy")
    return f"{change.name} {versions} (accuracy {move(former, latter) if former != latter else former})"


def environment_line(change: EnvironmentChange) -> str:
    """An environment's changes in figures."""
    if change.status == "removed":
        return "gone"
    counts = [f"{count} {action}" for action, count in change.counts().items()]
    total = sum(change.counts().values())
    if change.status == "new":
        return f"a new environment of {counted(total, 'resource')}"
    parts = [f"resources: {listed(counts)}"] if counts else []
    for name, leaves in (("rollout", change.rollout), ("alarms", change.alarms)):
        if leaves:
            parts.append(f"{name}: {counted(len(leaves), 'value')} moved")
    if change.deployment:
        parts.append("a new deployment")
    ways = [one.direction for one in change.permissions]
    parts += [
        f"permissions {way} in {counted(ways.count(way), 'place')}"
        for way in ("widened", "narrowed", "moved")
        if way in ways
    ]
    return ", ".join(parts or ["settings only"])
