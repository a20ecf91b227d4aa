# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from edge_constructs.model_folder import ModelFolderError
from edge_recipe import parse
from stacks.application import build_app
from stacks.components import LOCK, load_model, load_sources
from stacks.environment import EnvironmentFileError
from stacks.release import _check_dependency


@pytest.fixture
def release(templates: dict[str, Any]) -> dict[str, Any]:
    template: dict[str, Any] = templates["Release"]
    return template


@pytest.fixture
def recipes(release: dict[str, Any], resources: Any) -> dict[str, Any]:
    """Recipe by component name, as the template holds it."""
    versions = resources(release, "AWS::GreengrassV2::ComponentVersion").values()
    recipes = [json.loads(version["Properties"]["InlineRecipe"]) for version in versions]
    return {recipe["ComponentName"]: recipe for recipe in recipes}


@pytest.fixture
def deployment(release: dict[str, Any], resources: Any) -> dict[str, Any]:
    (deployment,) = resources(release, "AWS::GreengrassV2::Deployment").values()
    return dict(deployment)


def test_every_recipe_obeys_the_rules_of_both_nuclei(recipes: dict[str, Any]) -> None:
    assert len(recipes) == 3
    for name, recipe in recipes.items():
        parse(recipe, source=name)


def test_versions_are_those_of_the_lock(recipes: dict[str, Any]) -> None:
    lock = json.loads(LOCK.read_text())
    assert {name: recipe["ComponentVersion"] for name, recipe in recipes.items()} == {
        name: list(lock[name.removeprefix("dev.")])[-1] for name in recipes
    }


def test_a_version_outlives_its_resource_and_waits_for_its_artifact(
    release: dict[str, Any], recipes: dict[str, Any], resources: Any
) -> None:
    published = {
        f"s3://{r['Properties']['TargetBucket']}/{r['Properties']['TargetKey']}": id_
        for id_, r in resources(release, "Custom::PublishedArtifact").items()
    }
    for version in resources(release, "AWS::GreengrassV2::ComponentVersion").values():
        assert version["UpdateReplacePolicy"] == "Retain"
        assert version["DeletionPolicy"] == "RetainExceptOnCreate"
        recipe = recipes[json.loads(version["Properties"]["InlineRecipe"])["ComponentName"]]
        for artifact in recipe["Manifests"][0]["Artifacts"]:
            if artifact["Uri"] in published:
                assert published.pop(artifact["Uri"]) in version["DependsOn"]
            else:
                assert artifact["Uri"].endswith(("digits-1.0.tar.gz", "digits-1.0.tar.gz.sig"))
    assert not published


def test_artifact_keys_hold_the_version(recipes: dict[str, Any]) -> None:
    for name in ("dev.com.edgemanager.Agent", "dev.com.edgemanager.ImageClassification"):
        (artifact,) = recipes[name]["Manifests"][0]["Artifacts"]
        assert f"/components/{name}/{recipes[name]['ComponentVersion']}/" in artifact["Uri"]


def test_the_deployment_pins_every_component(deployment: dict[str, Any], recipes: dict[str, Any]) -> None:
    components = deployment["Properties"]["Components"]
    versions = {name: component["ComponentVersion"] for name, component in components.items()}
    assert versions == {
        "aws.greengrass.Nucleus": "2.14.3",
        "aws.greengrass.TokenExchangeService": "2.0.3",
        **{name: recipe["ComponentVersion"] for name, recipe in recipes.items()},
    }
    assert deployment["Properties"]["TargetArn"] == "arn:aws:iot:us-east-1:111122223333:thinggroup/dev-fleet"
    assert deployment["Properties"]["DeploymentPolicies"]["FailureHandlingPolicy"] == "ROLLBACK"


def test_the_deployment_waits_for_every_version(
    release: dict[str, Any], deployment: dict[str, Any], resources: Any
) -> None:
    assert set(resources(release, "AWS::GreengrassV2::ComponentVersion")) == set(deployment["DependsOn"])


def test_merged_configuration_names_only_what_the_recipes_have(
    deployment: dict[str, Any], recipes: dict[str, Any], merge_of: Any
) -> None:
    for name, recipe in recipes.items():
        merged = merge_of(deployment["Properties"]["Components"][name])
        defaults = recipe.get("ComponentConfiguration", {}).get("DefaultConfiguration", {})
        assert set(merged) <= set(defaults), name


def test_every_scalar_that_is_merged_is_a_string(deployment: dict[str, Any], merge_of: Any) -> None:
    def scalars(value: Any) -> list[Any]:
        if isinstance(value, dict):
            return [scalar for item in value.values() for scalar in scalars(item)]
        if isinstance(value, list):
            return [scalar for item in value for scalar in scalars(item)]
        return [value]

    for component in deployment["Properties"]["Components"].values():
        assert all(isinstance(scalar, str) for scalar in scalars(merge_of(component)))


def test_the_inference_component_depends_on_what_is_deployed(recipes: dict[str, Any]) -> None:
    dependencies = recipes["dev.com.edgemanager.ImageClassification"]["ComponentDependencies"]
    assert {"dev.com.edgemanager.Agent", "dev.com.edgemanager.model.digits"} == set(dependencies)


def test_object_detection_is_deployed_where_an_environment_asks_for_it(assembly: Path, recipes: dict[str, Any]) -> None:
    assert "dev.com.edgemanager.ObjectDetection" not in recipes
    (template,) = (assembly / "assembly-staging").glob("*Release*.template.json")
    resources = json.loads(template.read_text(encoding="utf-8"))["Resources"].values()
    (deployment,) = (r for r in resources if r["Type"] == "AWS::GreengrassV2::Deployment")
    components = deployment["Properties"]["Components"]
    merge = json.loads(components["staging.com.edgemanager.ObjectDetection"]["ConfigurationUpdate"]["Merge"])
    assert merge["ModelPath"] == "../staging.com.edgemanager.model.digitdetector"
    assert merge["PublishResultsOnTopic"] == "gg/sageMakerEdgeManager/object-detection"
    (policy,) = merge["accessControl"]["aws.greengrass.ipc.mqttproxy"].items()
    assert policy[0] == "staging.com.edgemanager.ObjectDetection:mqttproxy:1"
    assert policy[1]["resources"] == [merge["PublishResultsOnTopic"]]
    assert "staging.com.edgemanager.model.digitdetector" in components
    (fleet,) = (assembly / "assembly-staging").glob("*Fleet*.template.json")
    assert f"topic/{merge['PublishResultsOnTopic']}" in fleet.read_text(encoding="utf-8")


def test_a_model_for_another_task_is_refused() -> None:
    with pytest.raises(ModelFolderError, match=r'expected "image-classification".*got "object-detection"'):
        build_app(context={"env": "dev", "dev.inference.model": "digitdetector"})


def test_devices_trust_the_signing_keys_and_nothing_unsigned(deployment: dict[str, Any], merge_of: Any) -> None:
    merged = merge_of(deployment["Properties"]["Components"]["dev.com.edgemanager.Agent"])
    assert merged["RequireSignature"] == "true"
    (key,) = merged["SigningPublicKeys"].split()
    assert key.endswith(".PublicKey0>")


def test_the_signature_is_the_models_second_artifact(recipes: dict[str, Any]) -> None:
    (manifest,) = recipes["dev.com.edgemanager.model.digits"]["Manifests"]
    package, signature = (artifact["Uri"] for artifact in manifest["Artifacts"])
    assert signature == f"{package}.sig"


def test_a_model_that_the_recipe_does_not_wait_for_is_refused() -> None:
    source, digits = load_sources()["image_classification"], load_model("digits")
    _check_dependency(source, digits, "image_classification")
    other = dataclasses.replace(digits, name="scanner")  # type: ignore[type-var] # the decorator has an alias
    with pytest.raises(EnvironmentFileError, match=r"image_classification/recipe\.json: .*model\.scanner is expected"):
        _check_dependency(source, other, "image_classification")
