# SPDX-License-Identifier: Apache-2.0
"""One environment under every setting that changes a recipe: no component version ever stands for two contents."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_constructs.component_lock import ComponentLock
from stacks.application import build_app
from stacks.components import all_sources, load_sources
from stacks.environment import load_environment
from stacks.variants import environment_sources

MINIMAL = """
devices = ["device-1"]
[greengrass]
nucleus_version = "2.14.3"
token_exchange_service_version = "2.0.3"
[inference]
model = "digits"
[detection]
model = "digitdetector"
"""
MODES = {"open": "", "sagemaker": 'edge_manager = "sagemaker"\nacknowledge_discontinued = true\n'}
COMPILED = {
    "not": "",
    "linux": '[compilation]\ntarget_platform = { os = "LINUX", arch = "X86_64" }\n',
    "rasp4b": '[compilation]\ntarget_device = "rasp4b"\n',
    "options": '[compilation]\ntarget_device = "rasp4b"\ncompiler_options = \'{"mattr": ["+neon"]}\'\n',
}
PLATFORM = {
    "any": "",
    "arm": '[packaging]\nplatform_os = "Linux"\nplatform_architecture = "Linux ARMV8"\n',
}


def texts() -> Iterator[tuple[str, str]]:
    for mode, compiled, platform in itertools.product(MODES, COMPILED, PLATFORM):
        if (mode, compiled) != ("sagemaker", "not"):  # refused
            yield f"{mode}-{compiled}-{platform}", MODES[mode] + MINIMAL + COMPILED[compiled] + PLATFORM[platform]


def templates(assembly: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(assembly.glob("assembly-*/*.template.json")):
        yield json.loads(path.read_text(encoding="utf-8"))


def versions(assembly: Path) -> Iterator[tuple[str, str, str]]:
    """Name, version and content of every component version that a deployment of the assembly makes."""
    for template in templates(assembly):
        for resource in template["Resources"].values():
            properties = resource.get("Properties", {})
            if resource["Type"] == "AWS::GreengrassV2::ComponentVersion":
                recipe = json.loads(properties["InlineRecipe"])
                yield recipe["ComponentName"], recipe["ComponentVersion"], properties["InlineRecipe"]
            if resource["Type"] == "Custom::SageMakerEdgePackagingJob":
                output = properties["OutputConfig"]
                preset = json.loads(output["PresetDeploymentConfig"])
                content = f"{output['S3OutputLocation']} {output['PresetDeploymentConfig']}"
                yield preset["ComponentName"], preset["ComponentVersion"], content


def test_no_version_stands_for_two_contents_in_any_combination(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {}
    for name, text in texts():
        folders[name] = tmp_path / name
        folders[name].mkdir()
        (folders[name] / "test.toml").write_text(text)
    sources = load_sources()
    made = [s for f in folders.values() for s in environment_sources(load_environment(f / "test.toml"), sources)]
    lock = ComponentLock(tmp_path / "lock", {}).renewed([*all_sources(), *made])
    lock.write()
    monkeypatch.setattr("stacks.application.LOCK", tmp_path / "lock")
    contents: dict[tuple[str, str], set[str]] = {}
    for name, folder in folders.items():
        outdir = folder / "cdk.out"
        build_app(outdir=str(outdir), folders=[folder]).synth()
        for component, version, content in versions(outdir):
            contents.setdefault((component, version), set()).add(content)
        assert contents, name
    assert {key: found for key, found in contents.items() if len(found) > 1} == {}
    models = {version for component, version in contents if component.endswith(".model.digits")}
    assert len(models) == len(folders), "each combination makes another model component"
    inference = {version for component, version in contents if component.endswith("ImageClassification")}
    assert len(inference) == len(MODES), "inference knows the mode alone"
    agents = {version for component, version in contents if component.endswith(".Agent")}
    assert len(agents) == 1
