# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

from edge_recipe import MissingValueError, resolve_pointer
from local.core_device.files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Configuration = dict[str, Any]


def merged(base: Mapping[str, Any], update: Mapping[str, Any]) -> Configuration:
    """Lay an update over a configuration: objects key by key, everything else (lists too) as a whole."""
    result = copy.deepcopy(dict(base))
    for key, value in update.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            result[key] = merged(old, value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def reset(base: Mapping[str, Any], pointers: Sequence[str], *, defaults: Mapping[str, Any]) -> Configuration:
    """Put the values at JSON pointers back to their defaults, or away where there is none; ``""`` is everything."""
    result = copy.deepcopy(dict(base))
    for pointer in pointers:
        if not pointer:
            result = copy.deepcopy(dict(defaults))
            continue
        parent_pointer, _, raw = pointer.rpartition("/")
        key = raw.replace("~1", "/").replace("~0", "~")
        try:
            parent = resolve_pointer(result, parent_pointer)
        except MissingValueError:
            continue
        if not isinstance(parent, dict):
            continue
        try:
            parent[key] = copy.deepcopy(resolve_pointer(defaults, pointer))
        except MissingValueError:
            parent.pop(key, None)
    return result


def deployed(
    existing: Mapping[str, Any] | None,
    *,
    defaults: Mapping[str, Any],
    reset_pointers: Sequence[str] = (),
    merge: Mapping[str, Any],
) -> Configuration:
    """Make a component's configuration in a deployment.

    The recipe's defaults fill in what is absent; what the device has stays, even when a default changed; then the
    deployment resets, and merges. Deployments that wait are carried out by age, so the youngest has the last word. An
    older one that reaches the device later has it too, as on lite, where classic keeps each value's time.
    """
    return merged(reset(merged(defaults, existing or {}), reset_pointers, defaults=defaults), merge)


class ConfigurationStore:
    """Each component's configuration, in a file of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._values: dict[str, Configuration] = {
            path.name.removesuffix(".json"): json.loads(path.read_bytes()) for path in sorted(directory.glob("*.json"))
        }
        self._journal = directory.parent / "configuration-before-deployment.json"

    def get(self, component: str) -> Configuration | None:
        """Give a copy of a component's configuration, None if it never had one."""
        return copy.deepcopy(self._values.get(component))

    def set(self, component: str, value: Mapping[str, Any]) -> None:
        """Replace a component's configuration, on disk first."""
        write_json(self._directory / f"{component}.json", value)
        self._values[component] = copy.deepcopy(dict(value))

    def remove(self, component: str) -> None:
        """Forget a component's configuration."""
        (self._directory / f"{component}.json").unlink(missing_ok=True)
        self._values.pop(component, None)

    def begin(self) -> None:
        """Remember all values on disk until :meth:`commit` or :meth:`roll_back`, whatever happens in between."""
        if not self._journal.exists():
            write_json(self._journal, self._values)

    def commit(self) -> None:
        """Keep what was set since :meth:`begin`."""
        self._journal.unlink(missing_ok=True)

    def roll_back(self) -> None:
        """Return to the values of the last :meth:`begin`; nothing happens if none is open."""
        before = read_json(self._journal, default=None)
        if before is None:
            return
        for component in set(self._values) - set(before):
            self.remove(component)
        for component, value in before.items():
            self.set(component, value)
        self.commit()


def lookup(configuration: Mapping[str, Any], key_path: Sequence[str]) -> object:
    """Follow a list of keys.

    Raises:
        LookupError: there is nothing at its end.
    """
    value: Any = configuration
    for key in key_path:
        if not isinstance(value, dict) or key not in value:
            raise LookupError(f"no configuration at {'/'.join(key_path)!r}")
        value = value[key]
    return value
