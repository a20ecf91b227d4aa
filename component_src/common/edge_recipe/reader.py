# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, Any

from edge_recipe.errors import Problem, RecipeError, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping


class Reader:
    """Takes values out of untyped JSON and notes what is wrong with them, instead of stopping at the first.

    Attributes:
        problems: what was wrong so far, in the order of reading.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def add(self, place: str, *, expected: str, found: object, remedy: str) -> None:
        """Note a problem; `found` is described by its type and value unless it is already a text about it."""
        self.problems.append(Problem(place, expected, found if isinstance(found, str) else describe(found), remedy))

    def extend(self, problems: Iterable[Problem]) -> None:
        """Note problems that a rule found."""
        self.problems.extend(problems)

    def mapping(self, value: object, place: str, *, what: str) -> Mapping[str, Any]:
        """Give the value if it is an object, else note that and give an empty one."""
        if isinstance(value, dict):
            return value
        self.add(place, expected=f"an object ({what})", found=describe(value), remedy="write { ... }")
        return {}

    def array(self, value: object, place: str, *, what: str) -> list[Any]:
        """Give the value if it is a list, else note that and give an empty one."""
        if isinstance(value, list):
            return value
        self.add(place, expected=f"a list ({what})", found=describe(value), remedy="write [ ... ]")
        return []

    def keys(
        self, value: Mapping[str, Any], place: str, *, known: Collection[str], advice: Mapping[str, str] | None = None
    ) -> None:
        """Note every key that is not among the known; `advice` maps a key that is known elsewhere to a remedy."""
        for key in value:
            if key in known:
                continue
            remedy = (advice or {}).get(key)
            if remedy is None:
                folded = {name.casefold(): name for name in known}
                near = folded.get(key.casefold()) or next(iter(difflib.get_close_matches(key, known, n=1)), None)
                remedy = f"write {near!r}" if near else "remove it"
            self.add(place, expected=f"only the keys {', '.join(sorted(known))}", found=repr(key), remedy=remedy)

    def text(
        self,
        parent: Mapping[str, Any],
        key: str,
        place: str,
        *,
        default: str | None = None,
        allowed: Collection[str] | None = None,
        remedy: str = "write a string",
    ) -> str:
        """Give the string at a key; a missing one without default, another type or a value not allowed is noted."""
        where = f"{place}.{key}"
        choice = f"one of {', '.join(sorted(allowed))}" if allowed is not None else "a string that is not empty"
        if key not in parent:
            if default is None:
                self.add(where, expected=choice, found="nothing", remedy=remedy)
            return default or ""
        value = parent[key]
        if not isinstance(value, str) or (not value and default is None) or (allowed and value not in allowed):
            self.add(where, expected=choice, found=describe(value), remedy=remedy)
            return default or ""
        return value

    def checked(self, value: str, place: str, *, check: Callable[[str], bool], expected: str, remedy: str) -> None:
        """Note a string (unless it is empty: that is noted already) that does not pass a check."""
        if value and not check(value):
            self.add(place, expected=expected, found=describe(value), remedy=remedy)


def load_json(text: str | bytes, *, source: str) -> object:
    """Read JSON strictly: no key twice in an object, nothing but JSON.

    Raises:
        RecipeError: it is not such JSON.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in pairs:
            if key in result:
                raise RecipeError(
                    source, [Problem("$", "each key once in an object", f"{key!r} twice", "remove one of the two")]
                )
            result[key] = value
        return result

    try:
        return json.loads(text, object_pairs_hook=unique)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        problem = Problem(
            "$", "JSON", str(error), "write the recipe in JSON: nucleus lite turns every scalar of YAML into a string"
        )
        raise RecipeError(source, [problem]) from None
