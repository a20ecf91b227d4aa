# SPDX-License-Identifier: Apache-2.0
"""Recipe variables: the only thing in braces that a script may hold.

Nucleus lite cuts a script at braces that it does not know and runs what is left, so everything else in braces is an
error here, before a device sees it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge_recipe.errors import Problem, RecipeError, describe, warning

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PLAIN_VARIABLES = frozenset(
    {"artifacts:path", "artifacts:decompressedPath", "work:path", "iot:thingName", "kernel:rootPath"}
)
CONFIGURATION_PREFIX = "configuration:"
_BRACES = re.compile(r"\{\{[^{}]*\}\}|\$?\{([^{}]*)\}|[{}]")
_CUT = "nucleus lite cuts the script here and runs what is left; reword it"


@dataclass(frozen=True)
class VariableValues:
    """What the recipe variables stand for, for one component on one device."""

    artifacts_path: str
    artifacts_decompressed_path: str
    work_path: str
    thing_name: str
    root_path: str
    configuration: Mapping[str, Any]

    def plain(self) -> dict[str, str]:
        """Map each variable but those of the configuration to its value."""
        return {
            "artifacts:path": self.artifacts_path,
            "artifacts:decompressedPath": self.artifacts_decompressed_path,
            "work:path": self.work_path,
            "iot:thingName": self.thing_name,
            "kernel:rootPath": self.root_path,
        }


class MissingValueError(LookupError):
    """A JSON pointer that leads nowhere."""


def resolve_pointer(document: object, pointer: str) -> object:
    """Follow a JSON pointer (RFC 6901).

    Raises:
        MissingValueError: it leads nowhere.
    """
    value: Any = document
    if not pointer:
        return value
    for raw in pointer[1:].split("/"):
        key = raw.replace("~1", "/").replace("~0", "~")
        try:
            value = value[int(key)] if isinstance(value, list) else value[key]
        except (KeyError, IndexError, ValueError, TypeError):
            raise MissingValueError(f"nothing at {pointer!r}") from None
    return value


def variables_in(script: str) -> Iterator[str]:
    """Yield the names of the known variables of a script, in order, with repetitions."""
    for match in _BRACES.finditer(script):
        name = match.group(1)
        if name is not None and _is_known(name):
            yield name


def brace_problems(script: str, place: str) -> Iterator[Problem]:
    """Yield a problem for everything in braces that is no recipe variable of both nuclei.

    The classic nucleus leaves alone what it does not know, so most of it goes wrong on nucleus lite alone.
    """
    variables = "one of " + ", ".join(f"{{{name}}}" for name in sorted(PLAIN_VARIABLES)) + ", {configuration:/pointer}"
    expected = f"braces only around {variables}"
    for match in _BRACES.finditer(script):
        text, name = match.group(0), match.group(1)
        if text.startswith("$"):
            remedy = f"write ${name} without braces" if name.isidentifier() else "put no $ in front of braces"
            yield warning(place, expected="no ${...} in a script", found=text, remedy=remedy)
        elif text.startswith("{{") and _is_known(text[2:-2]):
            yield Problem(place, "single braces around a recipe variable", text, f"write {text[1:-1]}")
        elif name is None or not _is_known(name):
            remedy = _CUT
            if name is not None and name.count(":") > 1:
                remedy = "nucleus lite cannot read another component's variables: hand the value through configuration"
            elif name is not None and name.replace(" ", "") != name and _is_known(name.strip()):
                yield Problem(place, expected, text, "write it without spaces: no nucleus knows it with them")
                continue
            yield warning(place, expected=expected, found=text, remedy=remedy)


def interpolate(script: str, values: VariableValues, *, source: str, place: str = "$") -> str:
    """Put the values in place of the recipe variables of a script.

    Raises:
        RecipeError: something in braces is unknown, or the configuration has no such value. A nucleus would run the
            script cut or with the braces in it.
    """
    problems = list(brace_problems(script, place))
    plain = values.plain()

    def value_of(match: re.Match[str]) -> str:
        name = match.group(1)
        if name is None or not _is_known(name):
            return match.group(0)
        if name in plain:
            return plain[name]
        pointer = name[len(CONFIGURATION_PREFIX) :]
        try:
            return configuration_text(resolve_pointer(values.configuration, pointer))
        except MissingValueError:
            keys = ", ".join(sorted(values.configuration)) or "nothing"
            problems.append(
                Problem(place, f"a configuration with {pointer}", keys, "set it in the recipe's DefaultConfiguration")
            )
            return ""

    result = _BRACES.sub(value_of, script)
    if problems:
        raise RecipeError(source, problems)
    return result


def configuration_text(value: object) -> str:
    """Write a configuration value as a script sees it: strings as they are, all else as compact JSON."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def number_problems(script: str, configuration: Mapping[str, Any], place: str) -> Iterator[Problem]:
    """Yield a problem for each configuration value in a script that the nuclei would write differently."""
    for name in variables_in(script):
        if not name.startswith(CONFIGURATION_PREFIX):
            continue
        pointer = name[len(CONFIGURATION_PREFIX) :]
        try:
            value = resolve_pointer(configuration, pointer)
        except MissingValueError:
            remedy = "give it one: a device whose deployment does not set it would run the script with the braces in it"
            expected = f"a default for {{{name}}} in DefaultConfiguration"
            yield warning(place, expected=expected, found="none", remedy=remedy)
            continue
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            yield warning(
                place,
                expected=f"a string at {pointer} of DefaultConfiguration, because a script interpolates it",
                found=describe(value),
                remedy=f'write "{value}": the nuclei print numbers differently (300.0, 0.50000000000000000)',
            )


def _is_known(name: str) -> bool:
    return name in PLAIN_VARIABLES or name.startswith(CONFIGURATION_PREFIX + "/")
