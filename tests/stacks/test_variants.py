# SPDX-License-Identifier: Apache-2.0
"""One environment under every setting that changes a recipe: no component version ever stands for two contents."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.stacks.minimal import MINIMAL

BOTH_MODELS = MINIMAL + '[detection]\nmodel = "digitdetector"\n'
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


def texts() -> Iterator[str]:
    for mode, compiled, platform in itertools.product(MODES, COMPILED, PLATFORM):
        if (mode, compiled) != ("sagemaker", "not"):  # refused
            yield MODES[mode] + BOTH_MODELS + COMPILED[compiled] + PLATFORM[platform]


def versions(stacks: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Name, version and content of every component version that the stacks make."""
    for template in stacks.values():
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


def test_no_version_stands_for_two_contents_in_any_combination(synthesise_texts: Any) -> None:
    combinations = list(texts())
    contents: dict[tuple[str, str], set[str]] = {}
    for stacks in synthesise_texts(*combinations):
        for component, version, content in versions(stacks):
            contents.setdefault((component, version), set()).add(content)
    assert {key: found for key, found in contents.items() if len(found) > 1} == {}
    models = {version for component, version in contents if component.endswith(".model.digits")}
    assert len(models) == len(combinations), "each combination makes another model component"
    inference = {version for component, version in contents if component.endswith("ImageClassification")}
    assert len(inference) == len(MODES), "inference knows the mode alone"
    assert len({version for component, version in contents if component.endswith(".Agent")}) == 1


def test_another_key_makes_another_package_and_version_and_none_changes_nothing(synthesise_texts: Any) -> None:
    keys = ['kms_key_id = ""', 'kms_key_id = "alias/packages"', 'kms_key_id = "alias/others"']
    texts = [BOTH_MODELS, *(f"{BOTH_MODELS}[packaging]\n{key}\n" for key in keys)]
    made = [
        [(name, version, content) for name, version, content in versions(stacks) if ".model." in name]
        for stacks in synthesise_texts(*texts)
    ]
    plain, blank, first, second = made
    assert blank == plain
    assert len({(name, version) for found in (plain, first, second) for name, version, _ in found}) == 3 * len(plain)
    folders = [[re.findall(r"s3://[^/]+/(models/[^\"]+)/", content) for *_, content in found] for found in made[1:]]
    without, *encrypted = folders
    assert all(folder.count("/") == 2 for model in without for folder in model), "as it was before there were keys"
    for found in encrypted:
        key = {folder.rpartition("/")[2] for model in found for folder in model}
        assert len(key) == 1, "one setting, one folder"
        parents = [[folder.rpartition("/")[0] for folder in model] for model in found]
        assert parents == without
    assert encrypted[0] != encrypted[1]
