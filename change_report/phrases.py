# SPDX-License-Identifier: Apache-2.0
"""How figures and names read, in every part of the report."""

from __future__ import annotations

import re
from collections.abc import Sequence

from change_report.leaves import Leaf

_COMPONENT = re.compile(r"(?:\b[a-z][a-z0-9]*\.)?\bcom\.edgemanager\.")
_WIDTH = 72
_DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{20,52}\b")
_CONTEXT = 16


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def counted(count: int, one: str, many: str | None = None) -> str:
    """`1 resource`, `2 resources`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def short(text: str) -> str:
    """A text with components' names without namespace and project."""
    return _COMPONENT.sub("", text)


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


def brief(text: str) -> str:
    """A text with digests cut to what tells them apart."""
    return _DIGEST.sub(r"\1…", text)


def leaf_line(leaf: Leaf) -> str:
    """A value that moved, on one line."""
    before, after = leaf_sides(leaf)
    if leaf.items:
        return f"{leaf.name}: {', '.join(filter(None, (before, after)))}"
    return f"{leaf.name}: {move(before, after)}"


def leaf_sides(leaf: Leaf) -> tuple[str | None, str | None]:
    """What a value was and is: what is long, cut to where it differs."""
    before, after = leaf.before and brief(leaf.before), leaf.after and brief(leaf.after)
    if leaf.items:
        return before and f"less {_cut(before)}", after and f"with {_cut(after)}"
    if before is None or after is None or max(len(before), len(after)) <= _WIDTH:
        return before and _cut(before), after and _cut(after)
    pairs = enumerate(zip(before, after, strict=False))
    same = next((at for at, (one, other) in pairs if one != other), min(len(before), len(after)))
    same = max(0, same - _CONTEXT)
    lead = "…" if same else ""
    return _cut(lead + before[same:]), _cut(lead + after[same:])


def _cut(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"
