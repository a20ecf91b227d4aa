# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import graphlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from edge_recipe import newest, satisfies

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edge_recipe import Dependency, Recipe

NUCLEUS_NAMES = ("aws.greengrass.Nucleus", "aws.greengrass.NucleusLite")
TOKEN_EXCHANGE_SERVICE = "aws.greengrass.TokenExchangeService"  # noqa: S105 # a component's name
# What this device emulates, and as which version where a deployment pins none.
BUILT_IN = {"aws.greengrass.Nucleus": "2.14.3", "aws.greengrass.NucleusLite": "2.6.0", TOKEN_EXCHANGE_SERVICE: "2.0.3"}
_MAX_ROUNDS = 100


class ResolutionError(Exception):
    """The deployments of a device do not make up one set of components."""


class Catalogue(Protocol):
    """Where component versions come from."""

    def versions(self, name: str) -> Sequence[str]:
        """List the versions of a component."""
        ...

    def recipe(self, name: str, version: str) -> Recipe:
        """Give a version's recipe, checked."""
        ...


@dataclass(frozen=True)
class Component:
    """A member of the set: `recipe` is None for what this device emulates itself."""

    name: str
    version: str
    recipe: Recipe | None
    is_root: bool

    @property
    def dependencies(self) -> Sequence[Dependency]:
        """What its recipe depends on."""
        return self.recipe.dependencies if self.recipe is not None else ()


def resolve(
    targets: Mapping[str, Mapping[str, str]], *, catalogue: Catalogue, installed: Mapping[str, str]
) -> list[Component]:
    """Make the set of components from what the device's targets ask for, and put it in the order of starting.

    Args:
        targets: target ARN -> component name -> version.
        catalogue: the component versions in the cloud.
        installed: name -> version on the device; such a version stays where it fits, as on nucleus lite.

    Raises:
        ResolutionError: naming the components, versions and requirements that do not fit together.
    """
    roots = _roots(targets)
    selected: dict[str, Component] = {}
    for _ in range(_MAX_ROUNDS):
        requirements = _requirements(selected)
        chosen = {
            name: _choose(name, roots.get(name), requirements.get(name, {}), catalogue, installed)
            for name in (*roots, *(name for name in requirements if name not in roots))
        }
        if chosen == selected:
            return _in_order(selected)
        selected = chosen
    names = ", ".join(sorted(selected))
    raise ResolutionError(f"no versions of {names} fit together: their dependencies change with every choice")


def _roots(targets: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    roots: dict[str, str] = {}
    origin: dict[str, str] = {}
    for target, components in targets.items():
        for name, version in components.items():
            if roots.setdefault(name, version) != version:
                raise ResolutionError(
                    f"component {name}: {origin[name]} deploys version {roots[name]} and {target} deploys {version}; "
                    "deploy one version to both"
                )
            origin.setdefault(name, target)
    return roots


def _requirements(selected: Mapping[str, Component]) -> dict[str, dict[str, str]]:
    """Map name -> dependent -> version range."""
    result: dict[str, dict[str, str]] = {}
    for component in selected.values():
        for dependency in component.dependencies:
            result.setdefault(dependency.name, {})[f"{component.name} {component.version}"] = dependency.requirement
    return result


def _choose(
    name: str, pinned: str | None, wanted: Mapping[str, str], catalogue: Catalogue, installed: Mapping[str, str]
) -> Component:
    ranges = list(wanted.values())
    text = ", ".join(f"{range_!r} (by {dependent})" for dependent, range_ in wanted.items())
    if pinned is not None:
        if not all(satisfies(range_, pinned) for range_ in ranges):
            raise ResolutionError(f"component {name}: the deployment pins {pinned}, but required is {text}")
        version: str | None = pinned
    elif name in BUILT_IN:
        version = newest([BUILT_IN[name]], ranges)
        if version is None:
            raise ResolutionError(
                f"component {name}: this device emulates {BUILT_IN[name]}, but required is {text}; "
                "pin the wanted version in the deployment"
            )
    elif name.startswith("aws."):
        version = None
    else:
        version = newest([installed[name]] if name in installed else [], ranges)
        if version is None:
            available = catalogue.versions(name)
            version = newest(available, ranges)
            if version is None:
                found = ", ".join(available) or "none"
                raise ResolutionError(f"component {name}: required is {text}; versions in the cloud: {found}")
    if name in BUILT_IN and version is not None:
        return Component(name=name, version=version, recipe=None, is_root=pinned is not None)
    if version is None or name.startswith("aws."):
        raise ResolutionError(
            f"component {name}: the local core device emulates only {', '.join(BUILT_IN)} of AWS's components"
        )
    return Component(name=name, version=version, recipe=catalogue.recipe(name, version), is_root=pinned is not None)


def _in_order(selected: Mapping[str, Component]) -> list[Component]:
    graph = {name: [dependency.name for dependency in item.dependencies] for name, item in selected.items()}
    try:
        return [selected[name] for name in graphlib.TopologicalSorter(graph).static_order()]
    except graphlib.CycleError as error:
        raise ResolutionError(f"components depend on each other in a circle: {' -> '.join(error.args[1])}") from None
