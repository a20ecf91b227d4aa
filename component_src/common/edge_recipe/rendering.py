# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from edge_recipe.errors import Problem, RecipeError, describe
from edge_recipe.parsing import parse

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_ORDER = (
    "RecipeFormatVersion",
    "ComponentName",
    "ComponentVersion",
    "ComponentType",
    "ComponentDescription",
    "ComponentPublisher",
    "ComponentConfiguration",
    "ComponentDependencies",
    "Manifests",
)


def render(
    template: Mapping[str, Any],
    *,
    namespace: str,
    version: str,
    artifact_base_uri: str,
    own_components: Collection[str],
    artifacts: Collection[str],
    source: str = "recipe.json",
) -> dict[str, Any]:
    """Make the recipe of one environment from a component's template.

    The template is a recipe without version, whose names (its own, its dependencies' and the ids of its accessControl
    policies, which are unique on a device) lack the namespace and whose artifacts are file names.

    Args:
        template: the recipe.json of a component folder; it is left as it is.
        namespace: stands before the names of our own components, with a dot.
        version: x.y.z, as the lock of component versions allots it.
        artifact_base_uri: the s3:// folder of the artifacts, with or without a slash at its end.
        own_components: names, without namespace, of the components that the environment deploys itself.
        artifacts: the file names that are published there.
        source: the template's file, for messages.

    Returns:
        The deployable recipe, its keys in the documentation's order; it has passed :func:`edge_recipe.parse`.

    Raises:
        RecipeError: the template is no template, or the recipe made of it breaks a rule.
    """
    _check_template(template, artifacts, source)
    name = template["ComponentName"]
    recipe: dict[str, Any] = copy.deepcopy(dict(template))
    recipe["ComponentName"] = f"{namespace}.{name}"
    recipe["ComponentVersion"] = version
    dependencies = recipe.get("ComponentDependencies")
    if isinstance(dependencies, dict):
        recipe["ComponentDependencies"] = {
            f"{namespace}.{key}" if key in own_components else key: value for key, value in dependencies.items()
        }
    _name_policies(recipe, name, namespace)
    base = artifact_base_uri.rstrip("/")
    for manifest in recipe["Manifests"]:
        for artifact in manifest.get("Artifacts", []):
            artifact["Uri"] = f"{base}/{artifact['Uri']}"
    ordered = {key: recipe[key] for key in (*_ORDER, *recipe) if key in recipe}
    parse(ordered, source=source)
    return ordered


def _check_template(template: Mapping[str, Any], published: Collection[str], source: str) -> None:
    problems = []
    if "ComponentVersion" in template:
        remedy = "remove it: the lock of component versions allots it"
        problems.append(Problem("$", "a template without ComponentVersion", "one", remedy))
    if not isinstance(template.get("ComponentName"), str):
        found = describe(template.get("ComponentName"))
        problems.append(Problem("$.ComponentName", "the name without namespace", found, "name the component"))
    manifests = template.get("Manifests")
    if not isinstance(manifests, list) or not all(isinstance(manifest, dict) for manifest in manifests):
        problems.append(Problem("$.Manifests", "a list of manifests", describe(manifests), "add one for linux"))
        manifests = []
    for i, manifest in enumerate(manifests):
        artifacts = manifest.get("Artifacts", [])
        for j, artifact in enumerate(artifacts if isinstance(artifacts, list) else [artifacts]):
            uri = artifact.get("Uri") if isinstance(artifact, dict) else artifact
            place = f"$.Manifests[{i}].Artifacts[{j}].Uri"
            if not isinstance(uri, str) or not uri or "/" in uri:
                remedy = "leave the folder to the environment"
                problems.append(Problem(place, "the file name alone", describe(uri), remedy))
            elif uri not in published:
                expected = f"a file that is published for this component ({', '.join(sorted(published)) or 'none'})"
                problems.append(Problem(place, expected, describe(uri), "correct the name, or remove the artifact"))
    if problems:
        raise RecipeError(source, problems)


def _name_policies(recipe: dict[str, Any], name: str, namespace: str) -> None:
    configuration = recipe.get("ComponentConfiguration")
    defaults = configuration.get("DefaultConfiguration") if isinstance(configuration, dict) else None
    services = defaults.get("accessControl") if isinstance(defaults, dict) else None
    if not isinstance(services, dict):
        return
    for service, policies in services.items():
        if isinstance(policies, dict):
            services[service] = {
                f"{namespace}.{key}" if key.startswith(name) else key: policy for key, policy in policies.items()
            }
