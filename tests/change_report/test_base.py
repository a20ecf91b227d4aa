# SPDX-License-Identifier: Apache-2.0
"""What is said where BASE is not what it must be, and which BASE is taken where none is named."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from change_report.__main__ import main
from change_report.engine import compare
from change_report.errors import BaseError, ReportError
from change_report.repository import Repository

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.change_report.conftest import Clone


@pytest.mark.refusal("Change report", "a BASE that is no commit")
def test_a_base_that_is_no_commit_names_those_that_are(clone: Clone, refusal: Callable[..., None]) -> None:
    code, out, err = clone.run("--base", "releases/7")
    refusal(said(err), ("BASE 'releases/7'", "a commit, branch or tag", "there is none of that name", "it has main"))
    assert (code, out) == (2, "")
    assert "BASE 'releases/7': a commit, branch or tag of this clone is expected, there is none" in err
    assert "origin/main" in err


def said(err: str) -> str:
    """The message of what was printed."""
    assert err.startswith("error: ")
    return err.removeprefix("error: ").strip()


def test_an_option_is_no_base(clone: Clone) -> None:
    code, _, err = clone.run("--base=--all")
    assert code == 2
    assert "BASE '--all'" in err


@pytest.mark.refusal("Change report", "a BASE without snapshots")
def test_a_base_without_snapshots_asks_for_a_later_one(clone: Clone, refusal: Callable[..., None]) -> None:
    clone.git("rm", "--quiet", "-r", "tests/snapshots")
    clone.git("commit", "--quiet", "--message=none")
    code, _, err = clone.run("--base", "HEAD")
    assert code == 2
    says = ("BASE 'HEAD'", "committed snapshots are expected below tests/snapshots/", "has none", "name a later one")
    refusal(said(err), says, hide={clone.git("rev-parse", "--short=7", "HEAD"): "…"})


@pytest.mark.refusal("Change report", "a BASE with damaged snapshots")
def test_a_base_with_damaged_snapshots_is_named_as_such(clone: Clone, refusal: Callable[..., None]) -> None:
    (clone.root / "tests" / "snapshots" / "dev" / "Release" / "AgentVersion.recipe.json").unlink()
    clone.git("commit", "--quiet", "--all", "--message=damaged")
    code, _, err = clone.run("--base", "HEAD")
    assert code == 2
    says = ("BASE cannot be read: dev/Release/AgentVersion.recipe.json", "is expected there", "is missing", "run `make")
    refusal(said(err), says)


@pytest.mark.refusal("Change report", "a BASE that a shallow clone does not hold")
def test_a_shallow_clone_says_how_to_fetch_the_rest(
    clone: Clone, tmp_path: Path, capsys: pytest.CaptureFixture[str], refusal: Callable[..., None]
) -> None:
    clone.git("commit", "--quiet", "--allow-empty", "--message=second")
    former = clone.git("rev-parse", "HEAD^")
    shallow = tmp_path / "shallow"
    clone.git("clone", "--quiet", "--depth=1", f"file://{clone.root}", str(shallow))
    assert main(["--base", former], root=shallow) == 2
    says = ("BASE", "a commit of this clone is expected", "the clone is shallow", "git fetch --unshallow")
    refusal(said(capsys.readouterr().err), says, hide={former: "…"})


@pytest.mark.refusal("Change report", "a folder that is no git clone")
def test_a_folder_that_is_no_clone_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], refusal: Callable[..., None]
) -> None:
    assert main(["--base", "HEAD"], root=tmp_path) == 2
    says = (str(tmp_path), "a git clone is expected", "BASE is read from its history", "clone the repository")
    refusal(said(capsys.readouterr().err), says)


@pytest.mark.refusal("Change report", "no BASE, and nothing that could be one")
def test_without_a_name_it_is_where_the_branch_left_main(clone: Clone, refusal: Callable[..., None]) -> None:
    repository = Repository(clone.root)
    with pytest.raises(BaseError) as caught:
        # One commit, nothing changed: there is nothing to compare with.
        repository.base(None)
    says = ("BASE", "a commit is expected to compare with", "in this clone", "name one: make diff BASE")
    refusal(str(caught.value), says)
    fork = clone.git("rev-parse", "HEAD")
    clone.git("commit", "--quiet", "--allow-empty", "--message=on a branch")
    assert repository.base(None).commit == fork
    clone.git("update-ref", "refs/remotes/origin/main", "HEAD")
    assert repository.base(None).name == "HEAD^"
    clone.edit("components.lock", '"com.edgemanager.Agent"', '"com.edgemanager.Agent" ')
    base = repository.base(None)
    assert (base.commit, base.title) == (clone.git("rev-parse", "HEAD"), clone.git("rev-parse", "--short=7", "HEAD"))


def test_a_tree_that_does_not_synthesise_fails_with_its_message(clone: Clone) -> None:
    clone.edit("environments/dev.toml", "interval_seconds = 60", "interval_seconds = 0")
    code, out, err = clone.run("--base", "HEAD")
    assert (code, out) == (1, "")
    assert "inference.interval_seconds" in err


def test_snapshots_that_are_not_todays_are_told_of(clone: Clone) -> None:
    clone.edit("environments/prod.toml", "maximum_per_minute = 5", "maximum_per_minute = 6")
    told = clone.report()
    assert any("run `make snapshots` and commit them" in note for note in told.report["notes"])
    clone.snapshots()
    assert not any("make snapshots" in note for note in clone.report().report["notes"])


def test_an_environment_that_is_gone_needs_a_decision(clone: Clone) -> None:
    (clone.root / "environments" / "staging.toml").unlink()
    delivery = clone.root / "delivery.toml"
    delivery.write_text(delivery.read_text("utf-8").replace('"staging", ', ""), "utf-8")
    told = clone.report()
    assert told.code == 3
    assert [kind for kind, _ in told.decisions()] == ["environment removed"]
    assert told.environment("staging")["status"] == "removed"


def test_a_base_of_before_assets_were_kept_says_that_they_are_not_compared(clone: Clone) -> None:
    (clone.root / "tests" / "snapshots" / "assets.json").unlink()
    clone.git("commit", "--quiet", "--all", "--message=old")
    clone.snapshots()
    _, out, _ = clone.run("--base", "HEAD")
    assert "BASE's snapshots do not tell the content of its assets: not compared" in out


@pytest.mark.refusal("Change report", "the diff engine is not installed")
def test_without_the_engine_the_command_that_installs_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: Callable[..., None]
) -> None:
    script = tmp_path / "engine.cjs"
    shutil.copy2(Path(__file__).parents[2] / "change_report" / "engine.cjs", script)
    monkeypatch.setattr("change_report.engine._SCRIPT", script)
    with pytest.raises(ReportError) as caught:
        compare([({}, {})])
    says = ("diff engine", "'@aws-cdk/cloudformation-diff'", "Cannot find module", "run `make setup`")
    refusal(str(caught.value), says)
