# SPDX-License-Identifier: Apache-2.0
"""A file of settings: TOML, held against the types of its tables; whatever is wrong gets a message."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")

_REMEDIES = {
    "bool_type": "; write true or false, without quotes",
    "int_type": "; write the number without quotes",
    "string_type": "; write it in quotes",
}


class EnvironmentFileError(ValueError):
    """An environment file or an override is wrong; the message names file, key, expectation and finding."""


def read_settings(path: Path, *, holds: str, set_elsewhere: AbstractSet[str], where: str) -> dict[str, Any]:
    """A TOML file as it stands, its keys not yet looked at.

    Args:
        path: the file.
        holds: what it describes, for the message.
        set_elsewhere: top-level keys that it must not have.
        where: the sentence on where those come from.

    Raises:
        EnvironmentFileError: it cannot be read, or has one of those keys.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise EnvironmentFileError(f"{path}: a TOML file with {holds} is expected: {error}") from error
    if given := set_elsewhere & document.keys():
        raise EnvironmentFileError(f"{path}: {', '.join(sorted(given))}: not set here: {where}")
    return document


def validate(type_: TypeAdapter[T], document: Mapping[str, Any], *, strict: bool, source: str) -> T:
    """A document as what it must be.

    Raises:
        EnvironmentFileError: it is not; every fault is listed.
    """
    try:
        # As JSON, so that strict mode still takes a list for a tuple.
        return type_.validate_json(json.dumps(document, default=str), strict=strict)
    except ValidationError as error:
        faults = [_describe(type_, fault, source) for fault in error.errors() if not _is_consequence(fault, error)]
        raise EnvironmentFileError("\n".join(faults)) from error


def repeated(values: Sequence[str]) -> list[str]:
    """What stands in a list more than once, sorted."""
    return sorted({value for value in values if values.count(value) > 1})


def _is_consequence(fault: Any, error: ValidationError) -> bool:
    """A list that is too short because its items are wrong: those are listed themselves."""
    length = len(fault["loc"])
    return fault["type"] == "too_short" and any(
        other["loc"][:length] == fault["loc"] and len(other["loc"]) > length for other in error.errors()
    )


def _describe(type_: TypeAdapter[Any], fault: Any, source: str) -> str:
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
        known = _known_keys(type_, fault["loc"][:-1])
        return f"{source}: {key}: no such key; known here are {', '.join(known)}; write one of those, or remove it"
    if fault["type"] in {"missing", "missing_argument", "missing_keyword_only_argument"}:
        return f"{source}: {key}: expected, but missing; add it"
    message = re.sub(r"^(Value error, |(Input|String)(?= should))", "", fault["msg"]).strip()
    return f"{source}: {key}: {message}; got {fault['input']!r}{_REMEDIES.get(fault['type'], '')}"


def _known_keys(type_: TypeAdapter[Any], location: tuple[Any, ...]) -> list[str]:
    schema = type_.json_schema()
    node = schema
    for part in location:
        node = node["items"] if isinstance(part, int) else node["properties"][part]
        # A table that may be absent is one of two: itself, or null.
        choices = [node, *node.get("anyOf", [])]
        reference = next((choice["$ref"] for choice in choices if "$ref" in choice), None)
        if reference is not None:
            node = schema["$defs"][reference.rpartition("/")[2]]
    return sorted(node["properties"])
