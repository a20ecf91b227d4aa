# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from change_report.__main__ import main
from change_report.report import make_report
from stacks.components import ROOT
from stacks.lock import renewed
from stacks.snapshots import synthesise

# What the report reads of a state of the project; the programs are needed where one runs from a clone's own code.
_DATA = ("cdk.json", "components.lock", "component_src", "environments", "models", "package.json", "requirements.txt")
_IF_THERE = ("delivery.toml",)
_PROGRAMS = ("change_report", "constructs", "stacks")
_NO_ONE = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}


@dataclass(frozen=True)
class Told:
    """What the command said and how it ended."""

    code: int
    report: dict[str, Any]

    def environment(self, name: str) -> dict[str, Any]:
        return next(one for one in self.report["environments"] if one["name"] == name)

    def decisions(self) -> list[tuple[str, str]]:
        return [(one["kind"], one["text"]) for one in self.report["decisions"]]


class Clone:
    """A git clone of the project, whose working tree is changed."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self._capsys = capsys

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace a text that stands there once."""
        file = self.root / path
        text = file.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{path}: {old!r} stands there {text.count(old)} times"
        file.write_text(text.replace(old, new), encoding="utf-8")

    def lock(self, name: str) -> tuple[str, str]:
        """`make lock`: the versions of a component before and after it."""
        before = self._version(name)
        renewed(self.root).write()
        return before, self._version(name)

    def _version(self, name: str) -> str:
        histories: dict[str, dict[str, str]] = json.loads((self.root / "components.lock").read_text(encoding="utf-8"))
        return list(histories[name])[-1]

    def snapshots(self) -> None:
        """`make snapshots`."""
        write_snapshots(self.root)

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """The command, by its entry point: exit code and what it printed."""
        try:
            code = main(arguments, root=self.root)
        except SystemExit as error:  # argparse
            code = int(error.code or 0)
        printed = self._capsys.readouterr()
        return code, printed.out, printed.err

    def report(self) -> Told:
        code, out, err = self.run("--base", "HEAD", "--format", "json")
        assert code in {0, 3}, err
        return Told(code, json.loads(out))

    def report_by_own_code(self) -> Told:
        """The command as a process of its own, from the clone's own constructs and stacks."""
        command = [sys.executable, "-m", "change_report", "--base", "HEAD", "--format", "json"]
        done = subprocess.run(command, cwd=self.root, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode in {0, 3}, done.stderr
        return Told(done.returncode, json.loads(done.stdout))

    def git(self, *arguments: str) -> str:
        return git(self.root, *arguments)


def git(root: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
    command = ["git", "-C", str(root), *identity, *arguments]
    done = subprocess.run(command, env={**os.environ, **_NO_ONE}, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def write_snapshots(root: Path) -> None:
    for name, text in synthesise(root).items():
        path = root / "tests" / "snapshots" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="session")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose one commit is today's tree, with what the report reads of it, and its snapshots."""
    root = tmp_path_factory.mktemp("origin") / "project"
    ignored = shutil.ignore_patterns("__pycache__", "held_out")
    for name in (*_DATA, *_PROGRAMS, *filter(lambda name: (ROOT / name).exists(), _IF_THERE), "tests/environments"):
        source, target = ROOT / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=ignored)
        else:
            shutil.copy2(source, target)
    (root / ".gitignore").write_text("node_modules\n__pycache__\n", encoding="utf-8")
    write_snapshots(root)
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message=today")
    return root


@pytest.fixture
def remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report is made once for all formats that a test asks for."""
    monkeypatch.setattr("change_report.__main__.make_report", functools.cache(make_report))


@pytest.fixture
def clone(origin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Clone]:
    """A clone of it for one change."""
    root = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", "--no-hardlinks", str(origin), str(root))
    (root / "node_modules").symlink_to(ROOT / "node_modules", target_is_directory=True)
    yield Clone(root, capsys)
    shutil.rmtree(root)
