# SPDX-License-Identifier: Apache-2.0
"""Other people's recipes, JSON or YAML, held to the rules that ours pass at synth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge_recipe.errors import RecipeError, describe, warning
from edge_recipe.parsing import check
from edge_recipe.reader import load_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from edge_recipe.errors import Problem

SUFFIXES = (".json", ".yaml", ".yml")


class UnreadableError(Exception):
    """A file cannot be looked at; the message says why and what helps."""


def lint_file(path: Path) -> list[Problem]:
    """List everything that is wrong with a recipe file.

    Raises:
        UnreadableError: it cannot be read, has another suffix, or is YAML and PyYAML is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UnreadableError(f"{path}: expected a file ending in {', '.join(SUFFIXES)}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableError(f"{path}: expected a recipe that can be read: {error.strerror}") from None
    try:
        if path.suffix.lower() == ".json":
            document, notes = load_json(content, source=str(path)), []
        else:
            document = _load_yaml(content, path)
            notes = [*_yaml_problems(document)]
    except RecipeError as error:
        return list(error.problems)
    _, problems = check(document, byte_count=len(content))
    return [*problems, *notes]


def _load_yaml(content: bytes, path: Path) -> object:
    try:
        import yaml  # noqa: PLC0415 # of the development environment only: our own recipes are JSON
    except ImportError:
        raise UnreadableError(
            f"{path}: PyYAML is needed to read YAML and is not installed here: pip install PyYAML, or write the recipe "
            "in JSON"
        ) from None

    class Loader(yaml.SafeLoader):
        """Dates stay text, as both nuclei read them."""

    Loader.yaml_implicit_resolvers = {
        first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    try:
        return _with_text_keys(yaml.load(content, Loader))  # noqa: S506 # a SafeLoader, see above
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableError(f"{path}: expected YAML: {' '.join(str(error).split())}") from None


def _with_text_keys(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _with_text_keys(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_text_keys(item) for item in value]
    return value


def _yaml_problems(document: object) -> Iterator[Problem]:
    """Nucleus lite makes a string of every scalar of a YAML recipe's configuration."""
    configuration: Any = document
    for key in ("ComponentConfiguration", "DefaultConfiguration"):
        configuration = configuration.get(key) if isinstance(configuration, dict) else None
    if isinstance(configuration, dict):
        place = "$.ComponentConfiguration.DefaultConfiguration"
        for where, value in _other_than_text(configuration, place):
            remedy = "write the recipe in JSON: nucleus lite makes a string of every scalar of YAML"
            yield warning(where, expected="a string, or JSON", found=describe(value), remedy=remedy)


def _other_than_text(value: Mapping[str, Any] | list[Any], place: str) -> Iterator[tuple[str, object]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in pairs:
        where = f"{place}.{key}" if isinstance(value, dict) else f"{place}[{key}]"
        if isinstance(item, (dict, list)):
            yield from _other_than_text(item, where)
        elif not isinstance(item, str):
            yield where, item
