# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from edge_constructs.component_lock import ComponentLock
from local.aws.policies import Decision, Request, decide, statements_of
from stacks.application import build_app
from stacks.components import ROOT, all_sources, load_sources
from stacks.environment import load_environment
from stacks.snapshots import FOLDERS
from stacks.variants import environment_sources

Template = dict[str, Any]


@pytest.fixture(scope="session")
def assembly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`cdk.out` of every environment and of the legacy one, synthesised once; an error of cdk-nag's would fail it."""
    outdir = tmp_path_factory.mktemp("synth") / "cdk.out"
    build_app(outdir=str(outdir), folders=FOLDERS).synth()
    return outdir


@pytest.fixture(scope="session")
def templates(assembly: Path) -> dict[str, Template]:
    """dev's templates by stack."""
    return _templates(assembly / "assembly-dev", "dev")


@pytest.fixture
def synthesise_texts(tmp_path: Path) -> Callable[..., list[dict[str, Template]]]:
    """Synthesises environments `test` of different texts, one by one, under a lock that knows all of them.

    Returns the templates of each by stack: Fleet, Models, Release.
    """

    def synthesise(*texts: str) -> list[dict[str, Template]]:
        folders = [tmp_path / f"environment-{number}" for number in range(len(texts))]
        for folder, text in zip(folders, texts, strict=True):
            folder.mkdir()
            (folder / "test.toml").write_text(text)
        sources = load_sources()
        made = [s for f in folders for s in environment_sources(load_environment(f / "test.toml"), sources)]
        root = tmp_path / "project"
        root.mkdir()
        for name in ("cdk.json", "component_src", "models"):
            (root / name).symlink_to(ROOT / name)
        ComponentLock(root / "components.lock", {}).renewed([*all_sources(), *made]).write()
        for folder in folders:
            build_app(outdir=str(folder / "cdk.out"), folders=[folder], root=root).synth()
        return [_templates(folder / "cdk.out" / "assembly-test", "test") for folder in folders]

    return synthesise


def _templates(folder: Path, stage: str) -> dict[str, Template]:
    artifacts = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["artifacts"].values()
    return {
        artifact["displayName"].removeprefix(f"{stage}/"): json.loads(
            (folder / artifact["properties"]["templateFile"]).read_text(encoding="utf-8")
        )
        for artifact in artifacts
        if artifact["type"] == "aws:cloudformation:stack"
    }


@pytest.fixture(scope="session")
def stacks_of(assembly: Path) -> Callable[[str], dict[str, Template]]:
    """An environment's templates by the stack's name."""

    def load(environment: str) -> dict[str, Template]:
        folder = assembly / f"assembly-{environment}"
        manifest = json.loads((folder / "manifest.json").read_text())
        return {
            a["properties"]["stackName"]: json.loads((folder / a["properties"]["templateFile"]).read_text())
            for a in manifest["artifacts"].values()
            if a["type"] == "aws:cloudformation:stack"
        }

    return load


@pytest.fixture(scope="session")
def resources() -> Callable[[Template, str], dict[str, Any]]:
    """All resources of one type: logical id to resource."""

    def of_type(template: Template, type_: str) -> dict[str, Any]:
        return {id_: resource for id_, resource in template["Resources"].items() if resource["Type"] == type_}

    return of_type


@pytest.fixture(scope="session")
def allows() -> Callable[..., bool]:
    """Whether a role's inline policies in a template allow an action on a resource."""

    def allowed(template: Template, role: str, action: str, resource: str) -> bool:
        statements = [
            {**statement, "Resource": _texts(statement["Resource"])}
            for policy in template["Resources"].values()
            if policy["Type"] == "AWS::IAM::Policy" and {"Ref": role} in policy["Properties"]["Roles"]
            for statement in statements_of(policy["Properties"]["PolicyDocument"])
        ]
        assert statements, f"{role} has no policy"
        return decide(statements, Request(action, resource)) is Decision.ALLOW

    return allowed


def _texts(value: Any) -> list[str]:
    return [_text(item) for item in (value if isinstance(value, list) else [value])]


def _text(value: Any) -> str:
    """A policy's resource as text; what another resource's attribute will be stands as `<id.attribute>`."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and "Fn::GetAtt" in value:
        return "<" + ".".join(value["Fn::GetAtt"]) + ">"
    if isinstance(value, Mapping) and "Fn::Join" in value:
        separator, parts = value["Fn::Join"]
        return str(separator.join(_text(part) for part in parts))
    return json.dumps(value)


@pytest.fixture(scope="session")
def merge_of() -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """The configuration that a deployment merges into one of its components; deploy-time values as `<id.attribute>`."""

    def read(component: Mapping[str, Any]) -> dict[str, Any]:
        update = component.get("ConfigurationUpdate", {}).get("Merge", "{}")
        merged: dict[str, Any] = json.loads(_text(update))
        return merged

    return read
