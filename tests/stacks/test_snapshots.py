# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

import pytest

from stacks.snapshots import ASSETS, FOLDER, expand, normalise, read, snapshots

HASH = "0123456789abcdef" * 4


def test_every_stack_of_every_environment_is_as_its_snapshot(assembly: Path) -> None:
    current, committed = snapshots(assembly), read(FOLDER)
    assert len(current) >= 9
    for name in sorted(current.keys() | committed.keys()):
        before, after = committed.get(name, ""), current.get(name, "")
        moved = "\n".join(
            difflib.unified_diff(before.splitlines(), after.splitlines(), "committed", "now", lineterm="")
        )
        assert before == after, f"{name} moved; if that is meant: make snapshots\n{moved[:4000]}"


def test_a_changed_asset_moves_nothing_and_a_changed_recipe_does() -> None:
    def template(asset: str, script: str) -> dict[str, object]:
        recipe = json.dumps({"Manifests": [{"Lifecycle": {"run": script}}]})
        return {
            "Resources": {
                "F": {"Properties": {"Code": {"S3Key": f"{asset}.zip"}}},
                "A": {"Properties": {"Sha256": asset, "ModelDigest": HASH}},
                "V": {"Properties": {"InlineRecipe": recipe}},
            }
        }

    first = normalise(template(HASH, "one"))
    assert first == normalise(template(HASH[::-1], "one"))
    assert first != normalise(template(HASH, "two"))
    assert first["Resources"]["A"]["Properties"]["ModelDigest"] == HASH
    assert first["Resources"]["V"]["Properties"]["InlineRecipe"]["Manifests"]


def test_recipes_and_configurations_have_files_of_their_own_and_come_back_whole(
    assembly: Path, templates: dict[str, dict[str, Any]]
) -> None:
    current = snapshots(assembly)
    release = json.loads(current["dev/Release.json"])["Resources"]
    recipes = {
        resource["Properties"]["InlineRecipe"]
        for resource in release.values()
        if resource["Type"] == "AWS::GreengrassV2::ComponentVersion"
    }
    assert "file:Release/AgentVersion.recipe.json" in recipes
    assert json.loads(current["dev/Release/AgentVersion.recipe.json"])["ComponentName"] == "dev.com.edgemanager.Agent"
    merged = json.loads(current["dev/Release/Deployment.dev.com.edgemanager.Agent.json"])
    assert merged["DeviceFleetName"] == "dev-fleet"
    assert expand(current)["dev"] == {name: normalise(template) for name, template in templates.items()}


def test_a_snapshot_that_names_a_missing_file_says_which() -> None:
    with pytest.raises(ValueError, match=r"dev/Release/A\.recipe\.json: a template's InlineRecipe is expected there"):
        expand({"dev/Release.json": '{"Resources": {"A": {"InlineRecipe": "file:Release/A.recipe.json"}}}'})


def test_the_content_of_an_asset_is_one_line_for_all_environments(assembly: Path, tmp_path: Path) -> None:
    """As a comment in a handler's code makes it: another hash in each environment's templates and manifests."""
    before = snapshots(assembly)
    asset = json.loads(before[ASSETS])["Publisher/Handler/OnEvent/Code"]
    for path in assembly.rglob("*.json"):
        moved = tmp_path / path.relative_to(assembly)
        moved.parent.mkdir(parents=True, exist_ok=True)
        moved.write_text(path.read_text(encoding="utf-8").replace(asset, HASH), encoding="utf-8")
    after = snapshots(tmp_path)
    changed = [name for name in before if before[name] != after[name]]
    assert changed == [ASSETS]
    lines = [line for line in difflib.ndiff(before[ASSETS].splitlines(), after[ASSETS].splitlines()) if line[0] == "+"]
    assert len(lines) == 1
    assert HASH in lines[0]
