# SPDX-License-Identifier: Apache-2.0
"""Typed values out of a component's configuration.

The nuclei do not agree on types: a number may arrive as 8, 8.0 or "8", an object as itself or as JSON in a string.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from edge_inference.errors import ConfigurationError

_SHOWN = 80


def shown(value: object) -> str:
    """`value` for an error message, cut to a length that a log line bears."""
    text = json.dumps(value, default=repr, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def text(name: str, value: object) -> str:
    """A string without blanks at its ends.

    Raises:
        ConfigurationError: it is something else, or has control characters.
    """
    if not isinstance(value, str):
        raise ConfigurationError(f"{name}: expected a string, got {shown(value)}")
    if not value.isprintable():
        raise ConfigurationError(f"{name}: expected printable characters only, got {shown(value)}")
    return value.strip()


def choice(name: str, value: object, allowed: Sequence[str]) -> str:
    """One of `allowed`, written exactly so.

    Raises:
        ConfigurationError: it is none of them.
    """
    if value not in allowed:
        raise ConfigurationError(f"{name}: expected one of {', '.join(allowed)}, got {shown(value)}")
    return str(value)


def number(name: str, value: object, *, low: float, high: float) -> float:
    """A finite number in [low, high], given as a number or as a string.

    Raises:
        ConfigurationError: it is no number or out of the range.
    """
    expected = f"{name}: expected a number from {low:g} to {high:g}, got {shown(value)}"
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ConfigurationError(expected)
    try:
        parsed = float(value)
    except (ValueError, OverflowError):
        raise ConfigurationError(expected) from None
    if not math.isfinite(parsed) or not low <= parsed <= high:
        raise ConfigurationError(expected)
    return parsed


def integer(name: str, value: object, *, low: int, high: int) -> int:
    """A whole number in [low, high]; 8, 8.0 and "8" are the same.

    Raises:
        ConfigurationError: it is no whole number or out of the range.
    """
    parsed = number(name, value, low=low, high=high)
    if not parsed.is_integer():
        raise ConfigurationError(f"{name}: expected a whole number, got {shown(value)}")
    return int(parsed)


def boolean(name: str, value: object) -> bool:
    """`true` or `false`, as itself or as a string in any case.

    Raises:
        ConfigurationError: it is neither.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in {"true", "false"}:
        return value.strip().lower() == "true"
    raise ConfigurationError(f'{name}: expected "true" or "false", got {shown(value)}')


def from_json(name: str, value: object) -> Any:
    """`value`, or what it says when it is JSON in a string.

    Raises:
        ConfigurationError: the string is no JSON.
    """
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ConfigurationError(f"{name}: expected JSON, got {shown(value)} ({error})") from error
