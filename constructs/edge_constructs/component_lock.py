# SPDX-License-Identifier: Apache-2.0
"""`components.lock`: which version stands for which content of a component.

A component version can never be changed in an account, so content that changed needs a new version, and content that
changed back needs one as well: the old number still exists out there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_constructs.component_source import ComponentSource

_VERSION = re.compile(r"(\d{1,6})\.(\d{1,6})\.(\d{1,6})")
_FIRST = "1.0.0"


class ComponentLockError(ValueError):
    """The lock is damaged or stands for other content; the message names the command that mends it."""


@dataclass(frozen=True)
class Locked:
    """One line of the lock: a version and the digest of what it stands for."""

    version: str
    digest: str


class ComponentLock:
    """The lock's content; `path` is named in messages."""

    def __init__(self, path: Path, entries: Mapping[str, Locked]) -> None:
        self._path = path
        self._entries = dict(entries)

    @classmethod
    def read(cls, path: Path) -> ComponentLock:
        """Read a lock file; one that does not exist is empty.

        Raises:
            ComponentLockError: the file is not what `make lock` writes.
        """
        if not path.exists():
            return cls(path, {})
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            entries = {name: Locked(**entry) for name, entry in document.items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise ComponentLockError(
                f"{path}: not as `make lock` writes it ({error}): restore it from version control"
            ) from error
        for name, entry in entries.items():
            if not _VERSION.fullmatch(entry.version):
                raise ComponentLockError(f"{path}: {name}: a version like 1.2.3 is expected, got {entry.version!r}")
        return cls(path, entries)

    def version_of(self, source: ComponentSource) -> str:
        """The version that stands for the component's present content.

        Raises:
            ComponentLockError: there is none.
        """
        entry = self._entries.get(source.name)
        if entry is None:
            raise ComponentLockError(
                f"{self._path}: {source.name} has no version yet: run `make lock` and commit the lock"
            )
        if entry.digest != source.digest:
            raise ComponentLockError(
                f"{self._path}: {source.name} {entry.version} stands for other content ({entry.digest[:12]}, now "
                f"{source.digest[:12]}): run `make lock` to give the new content a new version, and commit the lock"
            )
        return entry.version

    def renewed(self, sources: Iterable[ComponentSource]) -> ComponentLock:
        """A lock in which changed components have the next patch version; those that are gone keep their last one."""
        entries = dict(self._entries)
        for source in sources:
            entry = entries.get(source.name)
            if entry is None:
                entries[source.name] = Locked(_FIRST, source.digest)
            elif entry.digest != source.digest:
                entries[source.name] = Locked(_next(entry.version), source.digest)
        return ComponentLock(self._path, entries)

    def changes_from(self, former: ComponentLock) -> list[str]:
        """A line for each component whose entry differs, for people."""
        return [
            f"{name}: {former._entries[name].version if name in former._entries else 'new'} -> {entry.version}"
            for name, entry in sorted(self._entries.items())
            if former._entries.get(name) != entry
        ]

    def write(self) -> None:
        """Write the file whole or not at all."""
        document = {name: {"version": e.version, "digest": e.digest} for name, e in sorted(self._entries.items())}
        part = self._path.with_name(self._path.name + ".part")
        part.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        part.replace(self._path)


def _next(version: str) -> str:
    major, minor, patch = version.split(".")
    return f"{major}.{minor}.{int(patch) + 1}"
