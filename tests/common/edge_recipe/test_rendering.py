# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from edge_recipe import RecipeError, parse, render, serialize

ROOT = Path(__file__).resolve().parents[3]
TEMPLATES = sorted((ROOT / "component_src").glob("*/recipe.json"))


@pytest.fixture(name="template")
def _template(recipe: dict[str, Any]) -> dict[str, Any]:
    del recipe["ComponentVersion"]
    recipe["ComponentName"] = "com.example.App"
    defaults = recipe["ComponentConfiguration"]["DefaultConfiguration"]
    service = defaults["accessControl"]["aws.greengrass.ipc.mqttproxy"]
    service["com.example.App:mqtt:1"] = service.pop("dev.com.example.App:mqtt:1")
    recipe["ComponentDependencies"]["com.example.Agent"] = {"VersionRequirement": "^1.0.0"}
    recipe["ComponentDependencies"]["com.example.Other"] = {"VersionRequirement": "^1.0.0"}
    recipe["Manifests"][0]["Artifacts"][0]["Uri"] = "app.zip"
    return recipe


def rendered(template: dict[str, Any], **changes: Any) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "namespace": "dev",
        "version": "1.0.0",
        "artifact_base_uri": "s3://bucket/components/app/1.0.0",
        "own_components": {"com.example.App", "com.example.Agent"},
        "artifacts": {"app.zip"},
    }
    return render(template, **(properties | changes))


def test_names_of_our_own_get_the_namespace_and_others_stay(template: dict[str, Any]) -> None:
    before = copy.deepcopy(template)
    recipe = rendered(template)
    assert template == before
    assert recipe["ComponentName"] == "dev.com.example.App"
    assert list(recipe["ComponentDependencies"]) == [
        "aws.greengrass.TokenExchangeService",
        "dev.com.example.Agent",
        "com.example.Other",
    ]
    access = recipe["ComponentConfiguration"]["DefaultConfiguration"]["accessControl"]
    assert list(access["aws.greengrass.ipc.mqttproxy"]) == ["dev.com.example.App:mqtt:1"]
    assert recipe["Manifests"][0]["Artifacts"][0]["Uri"] == "s3://bucket/components/app/1.0.0/app.zip"
    assert parse(recipe, source="x").version == "1.0.0"


def test_the_order_of_the_template_s_keys_does_not_matter(template: dict[str, Any]) -> None:
    shuffled = dict(reversed(template.items()))
    assert serialize(rendered(shuffled)) == serialize(rendered(template))


def test_a_slash_at_the_end_of_the_folder_does_not_matter(template: dict[str, Any]) -> None:
    assert rendered(template, artifact_base_uri="s3://b/c/") == rendered(template, artifact_base_uri="s3://b/c")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"version": "1.0"}, "$.ComponentVersion"),
        ({"artifact_base_uri": "bucket/c"}, "Uri"),
        ({"namespace": "a b"}, "Name"),
    ],
)
def test_the_result_is_held_to_the_rules(template: dict[str, Any], changes: dict[str, Any], text: str) -> None:
    with pytest.raises(RecipeError, match=text.replace("$", r"\$")):
        rendered(template, **changes)


def test_what_is_no_template_is_refused_with_every_problem(template: dict[str, Any]) -> None:
    template["ComponentVersion"] = "1.0.0"
    template["Manifests"][0]["Artifacts"][0]["Uri"] = "s3://bucket/app.zip"
    with pytest.raises(RecipeError, match="2 problems"):
        rendered(template)
    with pytest.raises(RecipeError, match="ComponentName"):
        rendered({})


def test_an_artifact_that_nothing_publishes_is_refused_by_its_name(template: dict[str, Any]) -> None:
    with pytest.raises(RecipeError) as caught:
        rendered(template, artifacts={"other.zip", "application.zip"})
    (problem,) = caught.value.problems
    assert problem.place == "$.Manifests[0].Artifacts[0].Uri"
    assert "(application.zip, other.zip)" in problem.expected
    assert "app.zip" in problem.found
    with pytest.raises(RecipeError, match=r"\(none\)"):
        rendered(template, artifacts=[])


def test_there_are_templates() -> None:
    assert TEMPLATES


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.parent.name)
def test_every_template_of_the_repository_makes_a_good_recipe(path: Path) -> None:
    template = json.loads(path.read_text(encoding="utf-8"))
    recipe = rendered(template, artifacts={f"{path.parent.name}.zip"}, source=str(path))
    assert parse(serialize(recipe), source=str(path)).name.startswith("dev.com.edgemanager.")
