# SPDX-License-Identifier: Apache-2.0
"""One report in each format, through the command."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from change_report import markdown, page, terminal
from change_report.document import Bullets, Document, Item, Table
from change_report.summary import LIMIT

if TYPE_CHECKING:
    from tests.change_report.conftest import Clone

HOSTILE = "<script>alert(1)</script> | [a](https://b.example) `c` @team # d"


def hostile() -> Document:
    blocks = (Bullets(items=(Item(text=HOSTILE, below=(HOSTILE,)),)), Table(columns=("a",), rows=((HOSTILE,),)))
    return Document(title=HOSTILE, verdict=HOSTILE, tone="bad", summary=HOSTILE, blocks=blocks)


@pytest.fixture
def changed(clone: Clone) -> Clone:
    clone.edit("environments/dev.toml", "interval_seconds = 60", 'interval_seconds = 30\ntopic = "factory/results"')
    clone.edit("environments/prod.toml", "maximum_per_minute = 5", "maximum_per_minute = 50")
    return clone


@pytest.mark.usefixtures("remembered")
def test_every_format_tells_of_the_same_change(changed: Clone) -> None:
    said = {}
    for format_ in ("terminal", "markdown", "html", "json", "summary"):
        out = changed.root.parent / f"report.{format_}"
        code, printed, _ = changed.run("--base", "HEAD", "--format", format_, "--out", str(out))
        assert (code, printed) == (3, "")
        said[format_] = out.read_text(encoding="utf-8")
        assert "factory/results" in said[format_]
    assert max(map(len, said["terminal"].splitlines())) <= terminal.WIDTH
    summary = said["summary"].strip()
    assert "\n" not in summary
    assert len(summary) <= LIMIT
    assert json.loads(said["json"])["summary"] == summary
    assert "Needs a decision: 2 reasons" in said["terminal"]
    # Self-contained: nothing is loaded, nothing runs.
    for forbidden in ("<script", "<link", "<img", "http:", "https:", "url("):
        assert forbidden not in said["html"]
    assert "default-src &#x27;none&#x27;" in said["html"]
    assert "prefers-color-scheme: dark" in said["html"]


def test_an_unknown_format_is_a_usage_error(clone: Clone) -> None:
    code, _, err = clone.run("--format", "pdf")
    assert code == 2
    assert "invalid choice: 'pdf'" in err


def test_a_file_that_cannot_be_written_is_named(clone: Clone) -> None:
    code, _, err = clone.run("--base", "HEAD", "--out", str(clone.root / "components.lock" / "report"))
    assert code == 1
    assert "--out" in err
    assert "a file is expected that can be written" in err


def test_names_from_templates_are_text_in_every_format() -> None:
    shown = page.render(hostile())
    assert "<script" not in shown
    written = markdown.render(hostile())
    assert "<script" not in written.replace("\\<", "")
    assert "@team" not in written
    assert r"\| \[a\](" in written
    assert "alert(1)" in terminal.render(hostile())


def test_the_summary_of_many_reasons_still_fits_an_approval(changed: Clone) -> None:
    for name in ("dev", "prod", "staging"):
        changed.edit(
            f"environments/{name}.toml", 'edge_manager = "open"', f'edge_manager = "open"\nnamespace = "{name}x"'
        )
    code, out, _ = changed.run("--base", "HEAD", "--format", "summary")
    assert code == 3
    assert len(out.strip()) <= LIMIT
    assert "needs a decision" in out
    assert "and " in out
