# SPDX-License-Identifier: Apache-2.0
"""A report in words: the blocks that every format shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from change_report.artifacts import ComponentChange, FileChange
from change_report.cost import CostLine
from change_report.document import Block, Bullets, Document, Heading, Item, Paragraph, Table, Tone
from change_report.environments import EnvironmentChange
from change_report.leaves import Leaf
from change_report.model_changes import ModelChange, ModelFacts
from change_report.permissions import Direction, PermissionChange
from change_report.phrases import (
    brief,
    counted,
    dollar_move,
    dollars,
    leaf_line,
    leaf_sides,
    listed,
    move,
    short,
    signed,
)
from change_report.report import Report
from change_report.resources import ResourceChange
from change_report.summary import component_line, decision_line, summary, together, verdict

_MOST_FILES = 12
_MOST_LEAVES = 6
_NO_CHANGE_OF_NOTE = ("ComponentVersion", "Uri")


def document(report: Report) -> Document:
    """The whole report."""
    tone: Tone = "bad" if report.decisions else "good"
    return Document(
        title=f"{report.base} → {report.head}",
        verdict=verdict(report),
        tone=tone,
        summary=summary(report),
        blocks=tuple(_blocks(report)),
    )


def _blocks(report: Report) -> Iterator[Block]:
    if found := together(report):
        yield Heading(text="Needs a decision")
        lines = [(f"{one.kind}: {decision_line(one)}", (brief(one.reason),) if one.reason else ()) for one in found]
        yield Bullets(items=tuple(Item(text=text, tone="bad", below=below) for text, below in lines))
    if report.notes:
        yield Heading(text="Not to be missed")
        yield Bullets(items=tuple(Item(text=note) for note in report.notes))
    if report.components:
        yield Heading(text="Components")
        yield Bullets(items=tuple(map(_component, report.components)))
    if report.models:
        yield Heading(text="Models")
        for model in report.models:
            yield from _model(model)
    for names in report.alike:
        yield from _environment(report.group(names))
    quiet = [change.title for change in report.environments if change.status == "unchanged"]
    if quiet and not report.nothing:
        yield Heading(text=listed(quiet))
        yield Paragraph(text="No change.", tone="soft")
    yield from _cost(report)
    yield from _built_with(report)


def _component(change: ComponentChange) -> Item:
    if change.is_variant:
        return Item(text=component_line(change), below=("made by an environment's settings",))
    move_of_size = signed(change.size_after - change.size_before)
    size = f"artifact {change.size_before:,} → {change.size_after:,} bytes ({move_of_size})"
    if change.before is None or change.after is None:
        size = f"artifact of {max(change.size_before, change.size_after):,} bytes"
    shown = change.files if change.before and change.after else ()
    lines = [_file(file) for file in shown[:_MOST_FILES]]
    lines += [f"requirement {leaf_line(leaf)}" for file in shown for leaf in file.pins]
    if len(shown) > _MOST_FILES:
        lines.append(f"and {len(shown) - _MOST_FILES} files more")
    lines += [f"recipe: {leaf_line(leaf)}" for leaf in change.recipe[:_MOST_FILES]]
    if len(change.recipe) > _MOST_FILES:
        lines.append(f"and {len(change.recipe) - _MOST_FILES} values of the recipe more")
    return Item(text=component_line(change), below=(f"{size}, {counted(len(change.files), 'file')} changed", *lines))


def _file(file: FileChange) -> str:
    if file.before is None or file.after is None:
        word = "added" if file.before is None else "removed"
        return f"{file.path}: {word}, {file.after or file.before or 0:,} bytes"
    only = ", comments and layout only: the same program" if file.same_program else ""
    mode = f", mode {file.mode}" if file.mode else ""
    return f"{file.path}: {file.before:,} → {file.after:,} bytes ({signed(file.after - file.before)}){mode}{only}"


def _model(change: ModelChange) -> Iterator[Block]:
    yield Heading(text=change.name, level=3)
    rows = [
        (label, _fact(change.before, label), _fact(change.after, label))
        for label in ("version", "digest", "size", "accuracy", "measured on", "optimisation")
    ]
    yield Table(columns=("", "before", "now"), rows=tuple(rows))
    items = [Item(text=_file(file)) for file in change.files if change.before and change.after]
    items += [Item(text=leaf_line(leaf)) for leaf in change.leaves]
    items += [Item(text=change.unevaluated, tone="bad")] if change.unevaluated else []
    if items:
        yield Bullets(items=tuple(items))


def _fact(facts: ModelFacts | None, label: str) -> str:
    if facts is None:
        return "-"
    evaluation, optimization = facts.evaluation, facts.optimization
    shown = {
        "version": facts.version,
        "digest": f"{facts.digest[:16]}…",
        "size": f"{facts.size:,} bytes",
        "accuracy": str(evaluation.get("accuracy", "not measured")),
        "measured on": f"{evaluation.get('images', 0)} images of {evaluation.get('data', '-')}",
        "optimisation": "none",
    }
    if "mean_average_precision" in evaluation:
        shown["accuracy"] += f", mean average precision {evaluation['mean_average_precision']}"
    if optimization:
        told: dict[str, object] = defaultdict(lambda: "?", optimization)
        shown["optimisation"] = (
            f"{', '.join(optimization.get('steps', ()))}: {told['size_before']} → {told['size']} bytes, "
            f"{told['latency_before_ms']} → {told['latency_ms']} ms, accuracy {told['accuracy_before']} → "
            f"{told['accuracy']}"
        )
    return shown[label]


def _environment(changes: Sequence[EnvironmentChange]) -> Iterator[Block]:
    first = changes[0]
    yield Heading(text=listed([change.title for change in changes]))
    if len(changes) > 1:
        yield Paragraph(text=f"The same in each, under its own names; here {first.title}'s.", tone="soft")
    if first.status == "new":
        yield from _new(first)
        return
    if first.status == "removed":
        yield Paragraph(text=f"Gone: {counted(len(first.resources), 'resource')}. Its stacks are not deleted by this.")
        return
    yield from _resources(first.resources)
    yield from _permissions(first.permissions)
    yield from _moves("Deployment", first.deployment)
    yield from _moves("Rollout", first.rollout)
    yield from _moves("Alarms", first.alarms)
    yield from _moves("Settings", first.settings)
    if first.others:
        yield Bullets(items=tuple(Item(text=other, tone="soft") for other in first.others))


def _new(change: EnvironmentChange) -> Iterator[Block]:
    kinds: dict[str, int] = {}
    for resource in change.resources:
        kinds[resource.type.removeprefix("AWS::")] = kinds.get(resource.type.removeprefix("AWS::"), 0) + 1
    yield Paragraph(
        text=f"A new environment: {counted(len(change.resources), 'resource')}, all added, and its deployment."
    )
    most = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    yield Paragraph(text=", ".join(f"{count} {kind}" for kind, count in most), tone="soft")
    widened = [one for one in change.permissions if one.direction == "widened"]
    if change.like and not widened:
        yield Paragraph(text=f"Its permissions are {change.like}'s under its own names, and nothing beyond them.")
    elif widened:
        yield from _permissions(widened)


def _resources(resources: Sequence[ResourceChange]) -> Iterator[Block]:
    if not resources:
        return
    yield Heading(text="Resources", level=3)
    order = ("replaced", "may be replaced", "removed", "kept, but no longer managed", "added", "changed")
    yield Bullets(items=tuple(map(_resource, sorted(resources, key=lambda one: order.index(one.action)))))


def _resource(change: ResourceChange) -> Item:
    bad = bool(change.state) and change.action in {"replaced", "may be replaced", "removed"}
    kept = " (the former one is kept)" if change.kept and change.action in {"replaced", "removed"} else ""
    leaves = [leaf for leaf in change.leaves if leaf.path[-1] not in _NO_CHANGE_OF_NOTE and leaf.path[0] != "DependsOn"]
    lines = [_leaf(leaf) for leaf in leaves[:_MOST_LEAVES]]
    if len(leaves) > _MOST_LEAVES:
        lines.append(f"and {len(leaves) - _MOST_LEAVES} values more")
    state = [f"stateful: {change.state}"] if bad else []
    return Item(
        text=f"{change.action}: {change.stack} {change.title}{kept}",
        tone="bad" if bad else "plain",
        below=(*state, *lines),
    )


def _leaf(leaf: Leaf) -> str:
    return f"{leaf.name}: see permissions" if leaf.after == "see permissions" else leaf_line(leaf)


def _permissions(changes: Sequence[PermissionChange]) -> Iterator[Block]:
    if not changes:
        return
    yield Heading(text="Permissions and network", level=3)
    items = []
    tones: dict[Direction, Tone] = {"widened": "bad", "narrowed": "good", "moved": "soft"}
    for direction, tone in tones.items():
        items += [_permission(change, tone) for change in changes if change.direction == direction]
    yield Bullets(items=tuple(items))


def _permission(change: PermissionChange, tone: Tone) -> Item:
    below = (brief(change.reason),) if change.reason else ()
    return Item(text=f"{change.direction}: {brief(change.text)}", tone=tone, below=below)


def _moves(title: str, leaves: Iterable[Leaf]) -> Iterator[Block]:
    rows = [(short(leaf.name), *(side or "-" for side in leaf_sides(leaf))) for leaf in leaves]
    if rows:
        yield Heading(text=title, level=3)
        yield Table(
            columns=("value", "before", "now"), rows=tuple((name, before, after) for name, before, after in rows)
        )


def _cost(report: Report) -> Iterator[Block]:
    changes = [change for change in report.environments if change.cost.lines]
    if not changes:
        return
    prices = report.prices
    yield Heading(text="Estimated cost a month")
    rows = [
        (change.title, dollars(change.cost.before), dollars(change.cost.after), dollar_move(change.cost.move))
        for change in changes
    ]
    yield Table(columns=("USD", "before", "now", "move"), rows=tuple(rows), numbers=frozenset({1, 2, 3}))
    lines = [(change.title, *_cost_line(line)) for change in changes for line in change.cost.lines]
    yield Table(columns=("of which", "what", "quantity", "USD"), rows=tuple(lines), numbers=frozenset({3}))
    told = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in prices.assumptions.items())
    yield Paragraph(
        text=f"List prices of {prices.region}, {prices.as_of}, without free tier; with sources and assumptions in "
        f"change_report/prices.toml: {told}. Data transfer, logs and functions' time are not estimated.",
        tone="soft",
    )


def _cost_line(line: CostLine) -> tuple[str, str, str]:
    quantity = f"{line.before:,g} → {line.after:,g}"
    if line.cost_before is None or line.cost_after is None:
        return line.what, quantity, "price yours to fill"
    return line.what, quantity, dollar_move(line.cost_after - line.cost_before)


def _built_with(report: Report) -> Iterator[Block]:
    items = [Item(text=f"{leaf.name}: {move(leaf.before, leaf.after)}") for leaf in report.pins]
    if report.assets is None:
        items.append(Item(text="BASE's snapshots do not tell the content of its assets: not compared", tone="soft"))
    elif report.assets:
        items.append(
            Item(text=f"{counted(len(report.assets), 'asset')} with other content: {', '.join(report.assets)}")
        )
    if items:
        yield Heading(text="Built with")
        yield Bullets(items=tuple(items))
