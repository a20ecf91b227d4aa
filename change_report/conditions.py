# SPDX-License-Identifier: Apache-2.0
"""Whether a statement's conditions let through no more than another's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from change_report.patterns import any_covers

Conditions = Mapping[str, Mapping[str, tuple[str, ...]]]
"""Operator to key to values."""

_LIKE = ("StringLike", "ArnLike", "ArnEquals")
_ANY_OF = ("StringEquals", "StringEqualsIgnoreCase", "NumericEquals", "Bool", "IpAddress", *_LIKE)
_NONE_OF = (
    "StringNotEquals",
    "StringNotEqualsIgnoreCase",
    "StringNotLike",
    "ArnNotLike",
    "ArnNotEquals",
    "NotIpAddress",
)
_AT_MOST = ("NumericLessThan", "NumericLessThanEquals")
_AT_LEAST = ("NumericGreaterThan", "NumericGreaterThanEquals")


def conditions_of(statement: Mapping[str, Any], text: Any) -> Conditions:
    """A statement's conditions with values as texts; `text` makes one of a value."""
    return {
        operator: {key: tuple(sorted(_texts(values, text))) for key, values in keys.items()}
        for operator, keys in sorted((statement.get("Condition") or {}).items())
    }


def at_least_as_strict(conditions: Conditions, than: Conditions) -> bool:
    """Whether whatever passes `conditions` passes `than` as well; False where that is not certain."""
    return all(
        _implied(operator, key, values, conditions) for operator, keys in than.items() for key, values in keys.items()
    )


def _implied(operator: str, key: str, values: tuple[str, ...], given: Conditions) -> bool:
    plain = operator.removesuffix("IfExists")
    # An operator without IfExists is stricter: it also refuses requests that lack the key.
    named = [operator] if operator == plain else [operator, plain]
    return any(_no_looser(plain, own[key], values) for name in named if key in (own := given.get(name, {})))


def _no_looser(operator: str, own: tuple[str, ...], values: tuple[str, ...]) -> bool:
    if operator in _LIKE:
        return all(any_covers(values, value) for value in own)
    if operator in _ANY_OF:
        return set(own) <= set(values)
    if operator in _NONE_OF:
        return set(own) >= set(values)
    bounds = operator in (*_AT_MOST, *_AT_LEAST) and len(own) == len(values) == 1
    return own == values or (bounds and _within(operator, own[0], values[0]))


def _within(operator: str, own: str, value: str) -> bool:
    try:
        mine, other = float(own), float(value)
    except ValueError:
        return False
    return mine <= other if operator in _AT_MOST else mine >= other


def _texts(values: Any, text: Any) -> list[str]:
    return [text(value) for value in (values if isinstance(values, list) else [values])]
