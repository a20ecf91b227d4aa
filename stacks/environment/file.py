# SPDX-License-Identifier: Apache-2.0
"""An environment as its file and the command line's context have it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from stacks.environment.rules import check
from stacks.environment.settings import Environment
from stacks.settings_file import EnvironmentFileError, read_settings, validate

# AWS's account number for documentation: what is synthesised without an account of one's own carries it.
DOCUMENTATION_ACCOUNT = "111122223333"
DEFAULT_REGION = "us-east-1"

_TYPE = TypeAdapter(Environment)


def load_environment(
    path: Path, *, overrides: Mapping[str, str] | None = None, variables: Mapping[str, str] | None = None
) -> Environment:
    """Read and check one environment file.

    Args:
        path: the TOML file; its stem is the environment's name.
        overrides: dotted key to value, as given on a command line; lists and tables as JSON.
        variables: where `EDGE_<NAME>_ACCOUNT` and `EDGE_<NAME>_REGION` are looked up; the process's own by default.

    Raises:
        EnvironmentFileError: the file cannot be read, or a key or value is not what it must be; every fault of a key is
            listed, or the first rule between keys that does not hold.
    """
    variables = os.environ if variables is None else variables
    name = path.stem
    prefix = f"EDGE_{name.upper().replace('-', '_')}"
    document = read_settings(
        path,
        holds="one environment",
        set_elsewhere={"name", "account", "region"},
        where=f"the name is the file's, account and region come from {prefix}_ACCOUNT and {prefix}_REGION",
    )
    document = {
        "name": name,
        "namespace": name,
        "account": variables.get(f"{prefix}_ACCOUNT", DOCUMENTATION_ACCOUNT),
        "region": variables.get(f"{prefix}_REGION", DEFAULT_REGION),
        **document,
    }
    validate(_TYPE, document, strict=True, source=str(path))
    for key, value in (overrides or {}).items():
        _set(document, key.split("."), value, source=f"context {name}.{key}")
    # A command line has only text: "5" may stand for a number there, never in the file.
    source = f"{path} with context overrides" if overrides else str(path)
    environment = validate(_TYPE, document, strict=False, source=source)
    check(environment, path)
    return environment


def overrides_for(name: str, context: Mapping[str, Any]) -> dict[str, str]:
    """The context values that speak of environment `name`: `<name>.<key>` by dotted key."""
    return {key.removeprefix(f"{name}."): value for key, value in sorted(context.items()) if key.startswith(f"{name}.")}


def _set(document: dict[str, Any], keys: list[str], value: str, *, source: str) -> None:
    *folders, last = keys
    for folder in folders:
        document = document.setdefault(folder, {})
        if not isinstance(document, dict):
            raise EnvironmentFileError(f"{source}: {folder} is a single value, not a table with keys")
    if isinstance(value, str) and value[:1] in {"[", "{"}:
        try:
            document[last] = json.loads(value)
        except ValueError as error:
            raise EnvironmentFileError(
                f"{source}: a list or table is written as JSON, got {value!r}: {error}"
            ) from error
    else:
        document[last] = value
