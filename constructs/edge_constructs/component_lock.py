# SPDX-License-Identifier: Apache-2.0
"""`components.lock`: every version that was ever allotted to a component, and the digest of what it stands for.

A component version can never be changed in an account, so content that changed needs a new version, and content that
changed back needs one as well: the old number still exists out there. The whole history is kept, one line a version:
that is how a version that shrinks, or grows without a change, is noticed.

An environment's settings may make a variant of a component, such as a model compiled for one target. Each variant has
a history of its own, under `<component>@<variant>`, and all histories of a component share one row of numbers: whatever
an environment switches between, no number ever stands for two contents.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from edge_constructs.component_source import ComponentSource

_VERSION = re.compile(r"(\d{1,6})\.(\d{1,6})\.(\d{1,6})")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FIRST = "1.0.0"
VARIANT = "@"  # no component's name holds it

History = Mapping[str, str]
"""Version to digest, oldest first."""


class ComponentLockError(ValueError):
    """The lock is damaged or stands for other content; the message names the command that mends it."""


class ComponentLock:
    """The lock's content; `path` is named in messages."""

    def __init__(self, path: Path, histories: Mapping[str, History]) -> None:
        self._path = path
        self._histories = {name: dict(history) for name, history in histories.items()}

    @classmethod
    def read(cls, path: Path) -> ComponentLock:
        """Read a lock file; one that does not exist is empty.

        Raises:
            ComponentLockError: the file is damaged, a version shrinks, or one grew without a change.
        """
        if not path.exists():
            return cls(path, {})
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ComponentLockError(f"{path}: JSON is expected ({error}): restore it from version control") from error
        if not isinstance(document, dict):
            raise ComponentLockError(f"{path}: an object is expected: restore it from version control")
        for name, history in document.items():
            _check(path, name, history)
        _check_apart(path, document)
        return cls(path, document)

    def version_of(self, source: ComponentSource) -> str:
        """The version that stands for the component's present content.

        Raises:
            ComponentLockError: there is none.
        """
        key = _key(source)
        history = self._histories.get(key)
        if not history:
            where = f" (with the settings of {source.variant} in the environment's file)" if source.variant else ""
            raise ComponentLockError(
                f"{self._path}: {key} has no version yet: run `make lock`{where} and commit the lock"
            )
        version, digest = _last(history)
        if digest != source.digest:
            raise ComponentLockError(
                f"{self._path}: {key} {version} stands for other content ({digest[:12]}, now "
                f"{source.digest[:12]}): run `make lock` to give the new content a new version, and commit the lock"
            )
        return version

    def renewed(self, sources: Iterable[ComponentSource]) -> ComponentLock:
        """A lock in which changed components have the next patch version; those that are gone keep their history."""
        histories = {name: dict(history) for name, history in self._histories.items()}
        for source in sources:
            history = histories.setdefault(_key(source), {})
            if not history or _last(history)[1] != source.digest:
                taken = [
                    version for key, other in histories.items() if _component(key) == source.name for version in other
                ]
                history[_next(max(taken, key=_numbers)) if taken else _FIRST] = source.digest
        return ComponentLock(self._path, histories)

    def changes_from(self, former: ComponentLock) -> list[str]:
        """A line for each component that has another version than in `former`, for people."""
        changes = []
        for name, history in sorted(self._histories.items()):
            before = former._histories.get(name)
            if before != history:
                changes.append(f"{name}: {_last(before)[0] if before else 'new'} -> {_last(history)[0]}")
        return changes

    def write(self) -> None:
        """Write the file whole or not at all."""
        part = self._path.with_name(self._path.name + ".part")
        part.write_text(json.dumps(dict(sorted(self._histories.items())), indent=2) + "\n", encoding="utf-8")
        part.replace(self._path)


def _check(path: Path, name: str, history: object) -> None:
    if not isinstance(history, dict) or not history:
        raise ComponentLockError(
            f"{path}: {name}: versions with digests are expected, got {history!r}: run `make lock`"
        )
    for version, digest in history.items():
        if not _VERSION.fullmatch(version) or not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise ComponentLockError(
                f"{path}: {name}: a version like 1.2.3 with a SHA-256 is expected, got {version!r}: {digest!r}: "
                "restore it from version control, then run `make lock`"
            )
    for (former, old), (latter, new) in itertools.pairwise(history.items()):
        if _numbers(latter) <= _numbers(former):
            raise ComponentLockError(
                f"{path}: {name}: {latter} follows {former}: versions only grow, as devices have the old one: restore "
                "the line from version control, then run `make lock`"
            )
        if old == new:
            raise ComponentLockError(
                f"{path}: {name}: {latter} stands for the same content as {former}: a version without a change; remove "
                "its line"
            )


def _check_apart(path: Path, histories: Mapping[str, History]) -> None:
    claimed: dict[tuple[str, str], str] = {}
    for key, history in histories.items():
        for version in history:
            other = claimed.setdefault((_component(key), version), key)
            if other != key:
                raise ComponentLockError(
                    f"{path}: {other} and {key}: {version} is expected once, as an account holds one content under it, "
                    "and stands in both: restore the lines from version control, then run `make lock`"
                )


def _key(source: ComponentSource) -> str:
    return f"{source.name}{VARIANT}{source.variant}" if source.variant else source.name


def _component(key: str) -> str:
    return key.partition(VARIANT)[0]


def _last(history: History) -> tuple[str, str]:
    return list(history.items())[-1]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _next(version: str) -> str:
    major, minor, patch = _numbers(version)
    return f"{major}.{minor}.{patch + 1}"
