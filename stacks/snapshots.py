# SPDX-License-Identifier: Apache-2.0
"""Synthesised templates in the form that reviewers read: `make snapshots` renews them, a test holds them."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stacks.application import ENVIRONMENTS, build_app
from stacks.components import ROOT

FOLDER = ROOT / "tests" / "snapshots"
# The environments of the project, and one that keeps SageMaker mode alive.
FOLDERS = (ENVIRONMENTS, ROOT / "tests" / "environments")
_ASSET = re.compile(r"\b[0-9a-f]{64}(?=\.(zip|json)\b)")


def normalise(template: Mapping[str, Any]) -> dict[str, Any]:
    """A template without what moves on its own, and with what it hides in strings laid open.

    The hashes of assets and artifacts are folded: a component's own version and digest tell of its content. Recipes
    and merged configurations, JSON inside JSON strings, become objects.
    """
    return {key: _normalise(value, key) for key, value in template.items()}


def snapshots(assembly: Path) -> dict[str, str]:
    """The snapshot of each stack of every stage of a cloud assembly, by its path below `tests/snapshots`."""
    found = {}
    for stage in sorted(assembly.glob("assembly-*")):
        manifest = json.loads((stage / "manifest.json").read_text(encoding="utf-8"))
        for artifact in manifest["artifacts"].values():
            if artifact["type"] == "aws:cloudformation:stack":
                template = json.loads((stage / artifact["properties"]["templateFile"]).read_text(encoding="utf-8"))
                found[f"{artifact['displayName']}.json"] = json.dumps(normalise(template), indent=1) + "\n"
    return found


def joined(value: Mapping[str, Any]) -> str:
    """The text of an `Fn::Join`; what another resource's attribute will be stands as `<id.attribute>`."""
    separator, parts = value["Fn::Join"]
    texts = (part if isinstance(part, str) else f"<{'.'.join(part['Fn::GetAtt'])}>" for part in parts)
    return str(separator).join(texts)


def _normalise(value: Any, key: str) -> Any:
    if key == "Merge" and isinstance(value, Mapping) and "Fn::Join" in value:
        value = joined(value)
    if isinstance(value, Mapping):
        return {name: _normalise(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_normalise(item, key) for item in value]
    if not isinstance(value, str):
        return value
    if key in {"InlineRecipe", "Merge"}:
        return _normalise(json.loads(value), key)
    if key == "Sha256":
        return "<content>"
    return _ASSET.sub("<asset>", value)


def main() -> int:
    """Write the snapshots of every environment; those of stacks that are gone go."""
    with tempfile.TemporaryDirectory() as folder:
        outdir = Path(folder, "cdk.out")
        build_app(outdir=str(outdir), folders=FOLDERS).synth()
        current = snapshots(outdir)
    for path in FOLDER.glob("*/*.json"):
        if path.relative_to(FOLDER).as_posix() not in current:
            path.unlink()
    for name, text in current.items():
        path = FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{len(current)} snapshots in {FOLDER.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
