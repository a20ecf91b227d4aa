# SPDX-License-Identifier: Apache-2.0
"""What changed inside the components: recipe, and the files of the artifact."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from change_report.leaves import Leaf, differing
from change_report.sides import Side, pins_of
from change_report.statements import Templates
from edge_constructs.component_lock import VARIANT
from edge_constructs.component_source import ComponentSource
from edge_package.archive import FileContent


@dataclass(frozen=True, kw_only=True)
class FileChange:
    """A file of an artifact: its sizes in bytes, None where it was not or is not there.

    `same_program`: Python that differs in comments and layout alone. `pins`: what moved in a requirements file.
    """

    path: str
    before: int | None
    after: int | None
    same_program: bool = False
    pins: tuple[Leaf, ...] = ()
    mode: str = ""


@dataclass(frozen=True, kw_only=True)
class ComponentChange:
    """A component with another version or content; sizes are the artifact's, in bytes.

    A variant has the lock's name for it, `<component>@<settings>`; what it is made of is told of where that stands.

    `kept_defaults` are defaults of the recipe that changed and, by environment, do not reach devices that have the
    component already: a deployment neither merges nor resets them.
    """

    name: str
    before: str | None
    after: str | None
    size_before: int
    size_after: int
    files: tuple[FileChange, ...]
    recipe: tuple[Leaf, ...]
    kept_defaults: tuple[str, ...]

    @property
    def is_variant(self) -> bool:
        """Whether an environment's settings made it of another one."""
        return VARIANT in self.name

    @property
    def same_program(self) -> bool:
        """Whether nothing but comments and layout changed."""
        return bool(self.files) and not self.recipe and all(file.same_program for file in self.files)


def component_changes(before: Side, after: Side) -> list[ComponentChange]:
    """Every component with an artifact that differs, and every variant; models are told of as models."""
    names = sorted({**before.sources, **after.sources})
    found = [_change(name, before, after) for name in names]
    keys = sorted({**before.versions, **after.versions})
    found += [_variant(key, before, after) for key in keys if VARIANT in key]
    return [change for change in found if change is not None]


def file_changes(before: Mapping[str, FileContent], after: Mapping[str, FileContent]) -> list[FileChange]:
    """Every file that is added, removed or changed, by path."""
    paths = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    return [_file(path, before.get(path), after.get(path)) for path in paths]


def _change(name: str, before: Side, after: Side) -> ComponentChange | None:
    former, latter = before.sources.get(name), after.sources.get(name)
    versions = before.versions.get(name), after.versions.get(name)
    if (former and former.digest) == (latter and latter.digest) and versions[0] == versions[1]:
        return None
    recipe = tuple(differing(former.template if former else {}, latter.template if latter else {}))
    return ComponentChange(
        name=name,
        before=versions[0] if former else None,
        after=versions[1] if latter else None,
        size_before=_size(former),
        size_after=_size(latter),
        files=tuple(file_changes(former.files if former else {}, latter.files if latter else {})),
        recipe=recipe if former and latter else (),
        kept_defaults=tuple(_kept_defaults(name, recipe, after)) if former and latter else (),
    )


def _variant(key: str, before: Side, after: Side) -> ComponentChange | None:
    """What environments' settings make of a component: its files are the plain one's, which is told of by itself."""
    versions = before.versions.get(key), after.versions.get(key)
    if versions[0] == versions[1]:
        return None
    name = key.partition(VARIANT)[0]
    sizes = [_size(side.sources.get(name)) for side in (before, after)]
    return ComponentChange(
        name=key,
        before=versions[0],
        after=versions[1],
        size_before=sizes[0],
        size_after=sizes[1],
        files=(),
        recipe=(),
        kept_defaults=(),
    )


def _kept_defaults(name: str, recipe: Iterable[Leaf], after: Side) -> Iterable[str]:
    prefix = ("ComponentConfiguration", "DefaultConfiguration")
    changed = [leaf.path[2:] for leaf in recipe if leaf.path[:2] == prefix and leaf.before is not None]
    updates = [
        (environment, component.get("ConfigurationUpdate", {}))
        for environment in after.environments
        for component in _deployed(after.templates.get(environment, {}), f".{name}")
    ]
    for path in changed:
        if kept := sorted({environment for environment, update in updates if not _reaches(update, path)}):
            yield f"{'.'.join(path)} in {', '.join(kept)}"


def _deployed(templates: Templates, suffix: str) -> Iterable[Mapping[str, Any]]:
    for template in templates.values():
        for resource in template.get("Resources", {}).values():
            components = resource.get("Properties", {}).get("Components")
            if isinstance(components, Mapping):
                yield from (component for name, component in components.items() if name.endswith(suffix))


def _reaches(update: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    """Whether a deployment says what the value at `path` is, or sends it back to the recipe's default."""
    pointer = "/" + "/".join(path)
    if any(reset == "" or f"{pointer}/".startswith(f"{reset}/") for reset in update.get("Reset", [])):
        return True
    merged: Any = update.get("Merge", {})
    for key in path:
        if not isinstance(merged, Mapping) or key not in merged:
            return False
        merged = merged[key]
    return True


def _file(path: str, before: FileContent | None, after: FileContent | None) -> FileChange:
    pins: tuple[Leaf, ...] = ()
    if PurePosixPath(path).name == "requirements.txt":
        pins = tuple(differing(_pins(before), _pins(after)))
    same = before is not None and after is not None and path.endswith(".py") and _same_program(before.data, after.data)
    return FileChange(
        path=path,
        before=None if before is None else len(before.data),
        after=None if after is None else len(after.data),
        same_program=same and before is not None and after is not None and before.mode == after.mode,
        pins=pins,
        mode=f"{before.mode:o} → {after.mode:o}" if before and after and before.mode != after.mode else "",
    )


def _same_program(before: bytes, after: bytes) -> bool:
    try:
        return ast.dump(ast.parse(before)) == ast.dump(ast.parse(after))
    except (SyntaxError, ValueError):
        return False


def _pins(content: FileContent | None) -> dict[str, str]:
    return pins_of(content.data.decode("utf-8", errors="replace")) if content else {}


def _size(source: ComponentSource | None) -> int:
    return sum(len(content.data) for content in source.files.values()) if source else 0
