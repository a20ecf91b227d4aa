# SPDX-License-Identifier: Apache-2.0
"""What every test folder shares: the pinned Node, waiting for a condition, and the table of refusals.

A test of a refusal is marked `@pytest.mark.refusal("Thing", "situation")` and gives its message to the fixture
`refusal`. `make refusals` writes docs/refusals.md of them; without it, a test fails whose message is not in the table.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

# The pinned Node beside this Python, as in app.py: pytest may be started without make.
NODE = Path(sys.executable).parent / "node"
if NODE.exists():
    os.environ.setdefault("JSII_NODE", str(NODE))

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs" / "refusals.md"
_OPTION = "--write-refusals"
_INTRODUCTION = """\
# Refusals

What is refused, and what is said about it. Every message names the thing, what was expected, what came and what to do;
`…` stands for a folder. Written by `make refusals` from the tests that are named: do not edit.

A device's name in Edge Manager cannot differ from its thing's: one entry of `devices` in an environment makes both.
Recipes have a page of their own with all rules: [recipe lint](operations/recipe-lint.md).
"""


@dataclass(frozen=True)
class Refusal:
    """One row of the table."""

    thing: str
    situation: str
    message: str
    test: str

    @property
    def row(self) -> str:
        lines = (f"`{line}`" for line in self.message.replace("|", "\\|").replace("`", "'").splitlines())
        return f"| {self.situation} | {'<br>'.join(lines)} |"


_written = pytest.StashKey[list[Refusal]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(_OPTION, action="store_true", help="write docs/refusals.md from the tests marked refusal")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "refusal(thing, situation=...): records a message for docs/refusals.md")
    config.stash[_written] = []


@pytest.fixture
def refusal(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., None]:
    """Hold a message to the four things that it has to say, and to the table.

    `says` are parts of the message that name the thing, what was expected, what came and what to do; `situation` stands
    for the marker's, where one run shows several; `hide` maps what changes from run to run to what stands for it.
    """
    marker = request.node.get_closest_marker("refusal")
    assert marker is not None, "mark the test: @pytest.mark.refusal(thing, situation)"
    thing, *only = marker.args

    def record(
        message: str,
        says: tuple[str, str, str, str],
        *,
        situation: str | None = None,
        hide: Mapping[str, str] | None = None,
    ) -> None:
        for text in says:
            assert text in message, f"{text!r} is not in {message!r}"
        for changing, stands in {str(tmp_path): "…", f"{ROOT}/": "", **(hide or {})}.items():
            message = message.replace(changing, stands)
        entry = Refusal(thing, situation or only[0], message, Path(request.node.path).relative_to(ROOT).as_posix())
        if request.config.getoption(_OPTION):
            request.config.stash[_written].append(entry)
        else:
            table = TABLE.read_text(encoding="utf-8").splitlines()
            assert entry.row in table, f"docs/refusals.md is stale, run `make refusals`: it lacks\n{entry.row}"

    return record


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Waits until a condition holds, and fails with its last value when it does not in time."""

    def wait(condition: Callable[[], object], *, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, f"not within {seconds} s; the last value was {value!r}"
            time.sleep(0.02)

    return wait


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if session.config.getoption(_OPTION) and exitstatus == pytest.ExitCode.OK:
        TABLE.write_text(_table(session.config.stash[_written]), encoding="utf-8")


def _table(refusals: list[Refusal]) -> str:
    parts = [_INTRODUCTION]
    for thing in dict.fromkeys(entry.thing for entry in refusals):
        entries = [entry for entry in refusals if entry.thing == thing]
        tests = ", ".join(f"`{test}`" for test in dict.fromkeys(entry.test for entry in entries))
        rows = "\n".join(entry.row for entry in entries)
        parts.append(f"## {thing}\n\nTests: {tests}\n\n| Situation | Message |\n|---|---|\n{rows}\n")
    return "\n".join(parts)
