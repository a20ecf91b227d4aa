# SPDX-License-Identifier: Apache-2.0
"""Synthesised templates in the form that reviewers read: `make snapshots` renews them, a test holds them.

`<environment>/<Stack>.json` is a template without what moves on its own. What it hides in strings, recipes and the
configurations that deployments merge, stands beside it in files of their own, in the folder `<Stack>/`. The content of
assets stands in `assets.json`, one line an asset: a comment in a handler moves that line and nothing else.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aws_cdk as cdk

from stacks.application import ENVIRONMENTS, build_app
from stacks.components import ROOT

FOLDER = ROOT / "tests" / "snapshots"
# The environments of the project, and one that keeps SageMaker mode alive.
FOLDERS = (ENVIRONMENTS, ROOT / "tests" / "environments")
ASSETS = "assets.json"
_ASSET = re.compile(r"\b[0-9a-f]{64}(?=\.(zip|json)\b)")
_LAID_OPEN = ("InlineRecipe", "Merge")
_FILE = "file:"
_ID_HASH = re.compile(r"[0-9A-F]{8}$")


def normalise(template: Mapping[str, Any]) -> dict[str, Any]:
    """A template without what moves on its own, and with what it hides in strings laid open.

    The hashes of assets and artifacts are folded: a component's own version and digest tell of its content. Recipes
    and merged configurations, JSON inside JSON strings, become objects.
    """
    return {key: _normalise(value, key) for key, value in template.items()}


def synthesise(root: Path = ROOT) -> dict[str, str]:
    """The snapshots of every environment of `root`, by path; for the documentation account, whatever is deployed.

    Raises:
        ValueError: an environment, a model, a recipe or the lock is wrong: `stacks.application.INPUT_ERRORS`.
    """
    folders = [root / folder.relative_to(ROOT) for folder in FOLDERS]
    with tempfile.TemporaryDirectory() as folder:
        outdir = Path(folder, "cdk.out")
        app = build_app(outdir=str(outdir), folders=folders, root=root, variables={})
        # Nobody deploys from here.
        reference = cdk.Acknowledgment(id="Annotation::edge-manager:discontinued", reason="Kept as a reference.")
        cdk.Validations.of(app).acknowledge(reference)
        app.synth()
        return snapshots(outdir)


def snapshots(assembly: Path) -> dict[str, str]:
    """The snapshots of a cloud assembly, all its stages included, by their path below `tests/snapshots`."""
    found: dict[str, str] = {}
    assets: dict[str, dict[str, str]] = defaultdict(dict)
    for folder in sorted((assembly, *assembly.rglob("assembly-*"))):
        for stack in _stacks(folder):
            environment, _, name = stack.display_name.rpartition("/")
            beside: dict[str, Any] = {}
            template = normalise(stack.template)
            resources = template.get("Resources", {})
            template["Resources"] = {
                id_: _moved_out(resource, f"{name}/{_ID_HASH.sub('', id_)}", beside)
                for id_, resource in resources.items()
            }
            found[f"{stack.display_name}.json"] = _text(template)
            found |= {_below(environment, path): _text(content) for path, content in beside.items()}
            for asset, sha256 in stack.assets.items():
                assets[asset][stack.display_name] = sha256
    return {**found, ASSETS: _text(_one_line_each(assets))}


def expand(files: Mapping[str, str]) -> dict[str, dict[str, dict[str, Any]]]:
    """Snapshots as whole templates again, environment to stack to template; stacks of no environment are under `""`.

    Raises:
        ValueError: a file is no JSON, or names one that is missing.
    """
    found: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for path, text in sorted(files.items()):
        content = json.loads(text)
        if "Resources" in content:
            environment, _, name = path.removesuffix(".json").rpartition("/")
            found[environment][name] = _moved_in(content, environment, files)
    return dict(found)


def read(folder: Path) -> dict[str, str]:
    """Every snapshot in a folder of them, by its path there."""
    return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in sorted(folder.rglob("*.json"))}


def joined(value: Mapping[str, Any]) -> str:
    """The text of an `Fn::Join`; what another resource's attribute will be stands as `<id.attribute>`."""
    separator, parts = value["Fn::Join"]
    texts = (part if isinstance(part, str) else f"<{'.'.join(part['Fn::GetAtt'])}>" for part in parts)
    return str(separator).join(texts)


@dataclass(frozen=True, kw_only=True)
class _Stack:
    display_name: str
    template: Mapping[str, Any]
    assets: Mapping[str, str]  # construct path -> hash


def _stacks(folder: Path) -> Iterator[_Stack]:
    def text(name: str) -> str:
        return (folder / name).read_text(encoding="utf-8")

    for artifact in json.loads(text("manifest.json"))["artifacts"].values():
        if artifact["type"] == "aws:cloudformation:stack":
            file = artifact["properties"]["templateFile"]
            template = text(file)
            listed = json.loads(text(file.replace(".template.json", ".assets.json")))["files"]
            # Stacks that share a synthesizer list one another's assets too.
            assets = {asset["displayName"]: sha256 for sha256, asset in listed.items() if sha256 in template}
            yield _Stack(display_name=artifact["displayName"], template=json.loads(template), assets=assets)


def _moved_out(value: Any, owner: str, beside: dict[str, Any], parent: str = "") -> Any:
    """A resource's part; what is laid open in it goes to a file in `beside`, by path, and leaves its name."""
    if isinstance(value, list):
        return [_moved_out(item, owner, beside) for item in value]
    if not isinstance(value, Mapping):
        return value
    moved = {}
    for key, item in value.items():
        if key in _LAID_OPEN and isinstance(item, Mapping):
            path = f"{owner}.recipe.json" if key == "InlineRecipe" else f"{owner}.{parent}.json"
            beside[path] = item
            moved[key] = f"{_FILE}{path}"
        else:  # a component's name is the key above its ConfigurationUpdate
            moved[key] = _moved_out(item, owner, beside, parent if key == "ConfigurationUpdate" else key)
    return moved


def _moved_in(value: Any, environment: str, files: Mapping[str, str], key: str = "") -> Any:
    if isinstance(value, Mapping):
        return {name: _moved_in(item, environment, files, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_moved_in(item, environment, files) for item in value]
    if key in _LAID_OPEN and isinstance(value, str) and value.startswith(_FILE):
        path = _below(environment, value.removeprefix(_FILE))
        if path not in files:
            raise ValueError(f"{path}: a template's {key} is expected there, the file is missing: run `make snapshots`")
        return json.loads(files[path])
    return value


def _below(environment: str, path: str) -> str:
    return f"{environment}/{path}" if environment else path


def _one_line_each(assets: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Hashes by construct path; a stack that has another one than most has a line of its own."""
    lines = {}
    for path, hashes in sorted(assets.items()):
        lines[path] = Counter(hashes.values()).most_common(1)[0][0]
        lines |= {f"{stack}/{path}": sha256 for stack, sha256 in sorted(hashes.items()) if sha256 != lines[path]}
    return lines


def _text(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def _normalise(value: Any, key: str) -> Any:
    if key == "Merge" and isinstance(value, Mapping) and "Fn::Join" in value:
        value = joined(value)
    if isinstance(value, Mapping):
        return {name: _normalise(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_normalise(item, key) for item in value]
    if not isinstance(value, str):
        return value
    if key in _LAID_OPEN:
        return _normalise(json.loads(value), key)
    if key == "Sha256":
        return "<content>"
    return _ASSET.sub("<asset>", value)


def main() -> int:
    """Write the snapshots of every environment; those of stacks that are gone go."""
    current = synthesise()
    for path in FOLDER.rglob("*.json"):
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
