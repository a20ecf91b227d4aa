# SPDX-License-Identifier: Apache-2.0
"""The command line, run as a person runs it, on recipes as AWS's public samples are written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_recipe import linting
from edge_recipe.cli import main
from edge_recipe.parsing import check

ROOT = Path(__file__).parents[3]
SAMPLES = sorted((Path(__file__).parent / "samples").iterdir())
TABLE = ROOT / "docs" / "operations" / "recipe-lint.md"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge_recipe", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "component_src/common")},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def write(folder: Path, recipe: Any, name: str = "recipe.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(recipe))
    return path


def test_a_good_recipe_is_quiet(recipe: dict[str, Any], tmp_path: Path) -> None:
    done = run("lint", write(tmp_path, recipe))
    assert (done.returncode, done.stdout, done.stderr) == (0, "1 recipe(s): 0 error(s), 0 warning(s)\n", "")


def test_each_problem_is_a_line_and_errors_fail(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["Manifests"][0]["Lifecycle"]["rum"] = "x"
    del recipe["Manifests"][0]["Platform"]["runtime"]
    path = write(tmp_path, recipe)
    done = run("lint", path)
    assert done.returncode == 1
    warned, failed, summary = done.stdout.splitlines()
    assert warned.startswith(f"{path}: warning: $.Manifests[0].Platform.runtime: expected")
    assert failed.startswith(f"{path}: error: $.Manifests[0].Lifecycle: expected")
    assert summary == "1 recipe(s): 1 error(s), 1 warning(s)"


def test_warnings_fail_only_if_asked_to(recipe: dict[str, Any], tmp_path: Path) -> None:
    del recipe["Manifests"][0]["Platform"]["runtime"]
    path = write(tmp_path, recipe)
    assert main(["lint", str(path)]) == 0
    assert main(["lint", "--strict", str(path)]) == 1


def test_json_says_the_same(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["ComponentVersion"] = "1"
    good = write(tmp_path, {**recipe, "ComponentVersion": "1.0.0"}, "good.json")
    done = run("lint", "--format", "json", write(tmp_path, recipe), good)
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert (report["errors"], report["warnings"]) == (1, 0)
    (bad, fine) = report["files"]
    assert fine == {"file": str(good), "problems": []}
    (problem,) = bad["problems"]
    assert problem["severity"] == "error"
    assert problem["place"] == "$.ComponentVersion"
    assert problem["found"] == "str '1'"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.json", None, "No such file"),
        ("recipe.toml", "", "expected a file ending in .json, .yaml, .yml"),
        ("recipe.yaml", "a: [", "expected YAML"),
        ("recipe.yaml", "&a [*a]", "expected YAML"),
        ("recipe.yml", "!!python/object:os.system {}", "expected YAML"),
    ],
)
def test_what_cannot_be_read_is_named_and_the_rest_is_checked(
    recipe: dict[str, Any], tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    good, bad = write(tmp_path, recipe, "good.json"), tmp_path / name
    if content is not None:
        bad.write_text(content)
    done = run("lint", bad, good)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{bad}: ")
    assert message in done.stderr
    assert done.stdout == "1 recipe(s): 0 error(s), 0 warning(s)\n"


def test_json_that_is_none_is_a_problem_of_the_recipe(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text("{")
    done = run("lint", path)
    assert done.returncode == 1
    assert f"{path}: error: $: expected JSON" in done.stdout


@pytest.mark.parametrize("arguments", [[], ["lint"], ["lint", "--format", "xml", "x.json"], ["mend"]])
def test_wrong_usage_is_said(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "usage: edge-recipe" in done.stderr


def test_the_help_says_what_the_words_and_numbers_mean() -> None:
    text = run("lint", "--help").stdout
    assert "warning  breaks on some devices only" in text
    assert "exit status: 0" in text


def test_without_pyyaml_its_name_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("a: 1")
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(linting.UnreadableError, match="PyYAML is needed to read YAML"):
        linting.lint_file(path)


def test_a_yaml_recipe_may_have_text_alone(recipe: dict[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path, recipe, "recipe.yaml")  # JSON is YAML
    assert linting.lint_file(path) == []
    recipe["ComponentConfiguration"]["DefaultConfiguration"]["Deep"] = {"list": ["1", 2, None]}
    write(tmp_path, recipe, "recipe.yaml")
    place = "$.ComponentConfiguration.DefaultConfiguration.Deep.list"
    assert [problem.place for problem in linting.lint_file(path)] == [f"{place}[1]", f"{place}[2]"]


KEYS = st.sampled_from(
    [
        "Manifests", "Platform", "Lifecycle", "run", "Script", "Artifacts", "Uri", "Permission", "os", "Setenv",
        "ComponentConfiguration", "DefaultConfiguration", "accessControl", "ComponentDependencies", "ComponentVersion",
    ]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


@given(VALUES)
def test_no_document_makes_the_check_itself_fail(document: Any) -> None:
    _, problems = check(document, byte_count=1)
    assert problems


def test_the_page_shows_what_the_samples_of_aws_get() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edge_recipe", "lint", *(path.name for path in SAMPLES)],
        cwd=SAMPLES[0].parent,
        env={**os.environ, "PYTHONPATH": str(ROOT / "component_src/common")},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    page = TABLE.read_text(encoding="utf-8")
    assert done.stdout in page, f"{TABLE.name} is stale: put this between its marks:\n{done.stdout}"
