# SPDX-License-Identifier: Apache-2.0
"""The git clone that the report is about: BASE's files, without touching the working tree."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from change_report.errors import BaseError

SNAPSHOTS = "tests/snapshots"
_SHORT = 7  # characters of a commit's name, for people
# What the report reads of a state of the project.
_READ = (
    SNAPSHOTS,
    "components.lock",
    "component_src",
    "environments",
    "models",
    "requirements.txt",
    "package.json",
)


@dataclass(frozen=True, kw_only=True)
class Base:
    """The commit that is compared with: `name` as it was given, and its own, whole, as a part may stand for two."""

    name: str
    commit: str

    @property
    def title(self) -> str:
        """For people: `origin/main (1a2b3c4)`."""
        short = self.commit[:_SHORT]
        return short if self.commit.startswith(self.name) else f"{self.name} ({short})"


class Repository:
    """A clone; `root` is its working tree."""

    def __init__(self, root: Path) -> None:
        self._root = root
        if self._try("rev-parse", "--git-dir") is None:
            raise BaseError(
                f"{root}: a git clone is expected, as BASE is read from its history: clone the repository, or in a "
                "pipeline have the source action make a full clone"
            )

    def base(self, name: str | None) -> Base:
        """The commit that `name` names; by default where this branch left main.

        Raises:
            BaseError: there is no such commit, or it holds no snapshots.
        """
        name = name or self._default()
        commit = self._try("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        if commit is None:
            raise BaseError(f"BASE {name!r}: {self._why_absent()}")
        if self._try("rev-parse", "--verify", "--quiet", f"{commit}:{SNAPSHOTS}") is None:
            raise BaseError(
                f"BASE {name!r}: committed snapshots are expected below {SNAPSHOTS}/, commit {commit[:_SHORT]} has "
                "none: name a later one, one since `make snapshots` was committed"
            )
        return Base(name=name, commit=commit)

    def extract(self, base: Base, target: Path) -> None:
        """Write what the report reads of BASE into a folder."""
        listed = self._run("ls-tree", "--name-only", base.commit, "--", *_READ).decode().split()
        archive = self._run("archive", "--format=tar", base.commit, "--", *listed)
        # Python before 3.11.4 has no safe extraction of its own.
        subprocess.run(["tar", "-x", "-C", str(target)], input=archive, check=True)  # noqa: S603, S607 -- POSIX's

    def head(self) -> str:
        """What is compared with BASE, for people."""
        commit = (self._try("rev-parse", "--short=7", "HEAD") or "no commit yet").strip()
        return f"{commit} with uncommitted changes" if self._changed() else commit

    def _default(self) -> str:
        for main in ("origin/main", "main"):
            if self._try("rev-parse", "--verify", "--quiet", f"{main}^{{commit}}") is None:
                continue
            fork = self._try("merge-base", main, "HEAD")
            if fork is not None and (fork != self._try("rev-parse", "HEAD") or self._changed()):
                return fork
            # On main itself, with nothing changed: what its last commit did.
            if self._try("rev-parse", "--verify", "--quiet", "HEAD^") is not None:
                return "HEAD^"
        raise BaseError(
            "BASE: a commit is expected to compare with, and neither origin/main nor main is in this clone: name one: "
            "make diff BASE=<git ref>"
        )

    def _changed(self) -> bool:
        return bool(self._run("status", "--porcelain").strip())

    def _why_absent(self) -> str:
        if self._try("rev-parse", "--is-shallow-repository") == "true":
            return (
                "a commit of this clone is expected; the clone is shallow and does not hold it: fetch the rest: "
                "git fetch --unshallow (in CodeBuild: a full clone as the source)"
            )
        near = self._run("for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/remotes", "refs/tags")
        known = ", ".join(near.decode().split()[:8])
        return (
            f"a commit, branch or tag of this clone is expected, there is none of that name; it has {known or 'none'}"
        )

    def _try(self, *arguments: str) -> str | None:
        try:
            return self._run(*arguments).decode().strip()
        except BaseError:
            return None

    def _run(self, *arguments: str) -> bytes:
        command = ["git", "-C", str(self._root), *arguments]
        try:
            return subprocess.run(command, check=True, capture_output=True).stdout  # noqa: S603 -- git, in this clone
        except FileNotFoundError as error:
            raise BaseError("git is expected on the path, to read BASE: install it") from error
        except subprocess.CalledProcessError as error:
            raise BaseError(f"git {arguments[0]} failed: {error.stderr.decode(errors='replace').strip()}") from error
