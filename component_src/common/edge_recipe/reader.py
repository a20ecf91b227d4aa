# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, Any

from edge_recipe.errors import Problem, RecipeError, Severity, describe

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping


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
    ) -> dict[str, Any]:
        """Note every key that is not among the known.

        Args:
            value: the object.
            place: where it stands.
            known: the keys as nucleus lite wants them. The cloud and the classic nucleus take any case.
            advice: keys that the classic nucleus alone knows, with what to do instead.

        Returns:
            The object with the case of its keys mended and without the unknown ones, so that what stands below a key
            of the wrong case is read as well.
        """
        advised = advice or {}
        folded = {name.casefold(): name for name in (*known, *advised)}
        result: dict[str, Any] = {}
        for key, item in value.items():
            meant = folded.get(key.casefold())
            if meant is not None and (meant == key or meant not in value):
                result[meant] = item
            if key in known:
                continue
            near = meant or next(iter(difflib.get_close_matches(key, known, n=1)), None)
            remedy = advised.get(meant or "", f"write {near!r}" if near else "remove it")
            if meant is not None and meant not in advised:
                remedy += ": nucleus lite wants exactly that"
            severity = Severity.ERROR if meant is None else Severity.WARNING
            expected = f"only the keys {', '.join(sorted(known))}"
            self.problems.append(Problem(place, expected, repr(key), remedy, severity))
        return result

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
