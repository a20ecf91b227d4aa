# SPDX-License-Identifier: Apache-2.0
"""How figures and names read, in every part of the report."""

from __future__ import annotations

from collections.abc import Sequence

from change_report.leaves import Leaf

NAMESPACE_PREFIX = "com.edgemanager."


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def counted(count: int, one: str, many: str | None = None) -> str:
    """`1 resource`, `2 resources`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def short(component: str) -> str:
    """A component's name without the project's part of it."""
    return component.removeprefix(NAMESPACE_PREFIX)


def move(before: object, after: object) -> str:
    """`a → b`; `new: b` where there was nothing, `gone: a` where nothing is."""
    if before is None:
        return f"new: {after}"
    return f"gone: {before}" if after is None else f"{before} → {after}"


def signed(number: float, digits: int = 0) -> str:
    """A move with its sign: `+1,024`."""
    return f"{number:+,.{digits}f}"


def dollars(amount: float) -> str:
    """US dollars with cents, and what is below a cent said so."""
    return f"{amount:,.2f}" if amount == 0 or abs(amount) >= 0.01 else "< 0.01"  # noqa: PLR2004 -- a cent


def dollar_move(amount: float) -> str:
    """A move of US dollars with its sign."""
    if amount == 0:
        return "±0.00"
    return signed(amount, 2) if abs(amount) >= 0.01 else f"{'+' if amount > 0 else '-'}< 0.01"  # noqa: PLR2004 -- a cent


def leaf_line(leaf: Leaf) -> str:
    """A value that moved, on one line."""
    return f"{leaf.name}: {move(leaf.before, leaf.after)}"
