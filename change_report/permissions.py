# SPDX-License-Identifier: Apache-2.0
"""What is allowed more or less than before, statement by statement.

A statement is judged by what it covers, not by its text: a narrower one under a former wider one is nothing new, a
wildcard or a lost condition is. Where it is not certain that something was allowed before, it counts as widened.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from change_report.conditions import at_least_as_strict
from change_report.patterns import any_covers
from change_report.statements import Holder, Statement, readable

Direction = Literal["widened", "narrowed", "moved"]
# What is named by its content has another name with every content, and is no more or less than before.
_CONTENT = re.compile(r"\b[0-9a-f]{16,64}\b[^*?]*$")
Statements = Mapping[Holder, frozenset[Statement]]


@dataclass(frozen=True, kw_only=True)
class PermissionChange:
    """Something that is allowed now and was not, or the other way round; "moved" to content that replaces the former.

    `reason` says how it came, where that is known; `is_new` that nothing was said of the holder before.
    """

    direction: Direction
    holder: str
    stack: str
    text: str
    reason: str = ""
    is_new: bool = False


def compare_permissions(before: Statements, after: Statements, gone: Collection[str] = ()) -> list[PermissionChange]:
    """Every statement that widens or narrows, by holder; `gone` are the logical ids of resources that are no more."""
    found: list[PermissionChange] = []
    for holder in sorted({**before, **after}, key=lambda one: (one.stack, one.name, one.kind)):
        former, latter = before.get(holder, frozenset()), after.get(holder, frozenset())
        if former != latter:
            found += _of_holder(
                holder,
                former,
                latter,
                is_new=holder not in before,
                is_gone=holder.name.strip("<>").partition(".")[0] in gone,
            )
    return found


def _of_holder(
    holder: Holder, before: frozenset[Statement], after: frozenset[Statement], *, is_new: bool, is_gone: bool
) -> Iterator[PermissionChange]:
    def change(direction: Direction, verb: str, statement: Statement, reason: str = "") -> PermissionChange:
        return PermissionChange(
            direction=direction,
            holder=readable(holder.name),
            stack=holder.stack,
            text=_sentence(holder, verb, statement),
            reason=reason,
            is_new=is_new,
        )

    widened, narrowed = _beyond(after, before, "Allow"), _beyond(before, after, "Allow")
    moved = [one for one in widened if not is_new and _same_but_content(one, narrowed)]
    for statement in moved:
        yield change("moved", "", statement, "in place of the same on the former content")
    for statement in (one for one in widened if one not in moved):
        yield change("widened", "", statement, "new here" if is_new else _reason(statement, after, before))
    if not is_gone:  # what a policy denied that goes with its resource
        for statement in _beyond(before, after, "Deny"):
            yield change("widened", "no longer denied: ", statement)
    for statement in (one for one in narrowed if not _same_but_content(one, moved)):
        yield change(
            "narrowed", "", statement, "gone with it" if is_gone else _reason(statement, before, after, now=True)
        )
    if not is_new:
        for statement in _beyond(after, before, "Deny"):
            yield change("narrowed", "now denied: ", statement)


def _beyond(
    statements: Collection[Statement], others: Collection[Statement], effect: Literal["Allow", "Deny"]
) -> list[Statement]:
    """The parts of `statements` that no statement of `others` covers."""
    bounds = [other for other in others if other.effect == effect]
    parts = (_uncovered(one, bounds) for one in statements if one.effect == effect and one not in others)
    return sorted((part for part in parts if part is not None), key=_order)


def _same_but_content(statement: Statement, others: Collection[Statement]) -> bool:
    """Whether another statement is the same but for resources named by a digest, and what comes after it."""
    return any(_without_content(statement) == _without_content(other) for other in others)


def _without_content(statement: Statement) -> Statement:
    resources = frozenset(_CONTENT.sub("<content>", resource) for resource in statement.resources)
    return dataclasses.replace(statement, resources=resources)


def _uncovered(statement: Statement, bounds: Collection[Statement]) -> Statement | None:
    if statement.inverted:
        return statement
    pairs = [
        (action, resource, principal)
        for action in statement.actions
        for resource in statement.resources or {""}
        for principal in statement.principals or {""}
        if not any(_covered(statement, action, resource, principal, bound) for bound in bounds)
    ]
    if not pairs:
        return None
    actions, resources, principals = (frozenset(filter(None, parts)) for parts in zip(*pairs, strict=True))
    return Statement(
        effect=statement.effect,
        actions=actions,
        resources=resources,
        principals=principals,
        conditions=statement.conditions,
    )


def _covered(statement: Statement, action: str, resource: str, principal: str, bound: Statement) -> bool:
    return (
        not bound.inverted
        and any_covers({name.lower() for name in bound.actions}, action.lower())  # actions know no case
        and (resource == "" or any_covers(bound.resources, resource))
        and (principal == "" or any_covers(bound.principals, principal))
        and at_least_as_strict(statement.condition_map, bound.condition_map)
    )


def _reason(
    statement: Statement, own: Collection[Statement], others: Collection[Statement], *, now: bool = False
) -> str:
    """How the nearest statement of the other side differs."""
    alike = [one for one in others if one.effect == statement.effect and one.actions & statement.actions]
    same = [one for one in alike if one.resources == statement.resources and one.principals == statement.principals]
    word = "now" if now else "was"
    for one in same:
        if one.conditions != statement.conditions:
            return f"condition {word}: {_conditions(one) or 'none'}"
    if len(alike) == 1 and (only := alike[0].resources - {name for one in own for name in one.resources}):
        return f"{word}: on {_list(only)}"
    wider = [one for one in others if one.effect == statement.effect and one.resources & statement.resources]
    if len(wider) == 1 and wider[0].actions != statement.actions:
        return f"{word}: {_list(wider[0].actions)}"
    return ""


def _sentence(holder: Holder, verb: str, statement: Statement) -> str:
    if statement.inverted:
        return f"{readable(holder.name)} {holder.kind} {verb}{readable(statement.inverted)} (all but: not compared)"
    name, who = readable(holder.name), _list(statement.principals)
    condition = f" if {_conditions(statement)}" if statement.conditions != "{}" else ""
    actions, resources = _list(statement.actions), _list(statement.resources - {holder.name})
    if holder.kind == "may be assumed by":
        return f"{name} may be assumed by {verb}{who}{condition}"
    if holder.kind == "lets others":
        return f"{name} lets {who} {verb}{actions}{f' on {resources}' if resources not in {'', '*'} else ''}{condition}"
    return f"{name} {holder.kind} {verb}{actions} on {resources}{condition}"


def _conditions(statement: Statement) -> str:
    return " and ".join(
        f"{key} {operator} {_list(values)}"
        for operator, keys in statement.condition_map.items()
        for key, values in keys.items()
    )


def _list(values: Collection[str]) -> str:
    return ", ".join(sorted(map(readable, values)))


def _order(statement: Statement) -> tuple[str, ...]:
    return (_list(statement.actions), _list(statement.resources), _list(statement.principals), statement.conditions)
