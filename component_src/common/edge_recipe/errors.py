# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Severity(enum.Enum):
    """Where a problem breaks the component. A recipe of ours has neither kind.

    ERROR: on every device, or in the service that takes the recipe.
    WARNING: on some devices only, mostly those with nucleus lite; the others run it.
    """

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Problem:
    """One thing that a nucleus would refuse, or worse, accept and do wrongly.

    Attributes:
        place: where it stands, as a JSON path (``$.Manifests[0].Platform``).
        expected: what belongs there.
        found: what stands there.
        remedy: what to do about it.
        severity: where it breaks.
    """

    place: str
    expected: str
    found: str
    remedy: str
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        return f"{self.place}: expected {self.expected}, found {self.found}; {self.remedy}"


class RecipeError(ValueError):
    """A recipe that must not reach a device, with every problem that it has.

    Attributes:
        source: the file or the component that the recipe came from.
        problems: all of its problems, in the order of the recipe.
    """

    def __init__(self, source: str, problems: Iterable[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        lines = "".join(f"\n  {problem}" for problem in self.problems)
        count = len(self.problems)
        super().__init__(f"{source}: {count} problem{'' if count == 1 else 's'} in this recipe:{lines}")


def warning(place: str, *, expected: str, found: str, remedy: str) -> Problem:
    """Make a problem of some devices only."""
    return Problem(place, expected, found, remedy, Severity.WARNING)


def describe(value: object) -> str:
    """Show what was found, short enough for one line of a message."""
    text = repr(value)
    limit = 80
    if len(text) > limit:
        text = text[: limit - 3] + "..."
    return f"{type(value).__name__} {text}"
