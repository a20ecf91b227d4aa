# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import difflib
import json
from pathlib import Path

from stacks.snapshots import FOLDER, normalise, snapshots

HASH = "0123456789abcdef" * 4


def test_every_stack_of_every_environment_is_as_its_snapshot(assembly: Path) -> None:
    current = snapshots(assembly)
    committed = {path.relative_to(FOLDER).as_posix(): path.read_text() for path in FOLDER.glob("*/*.json")}
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
