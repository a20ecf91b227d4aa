# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_recipe import Dependency, Recipe, satisfies
from local.core_device.resolution import BUILT_IN, ResolutionError, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Versions:
    """name -> version -> dependency -> range."""

    def __init__(self, content: Mapping[str, Mapping[str, Mapping[str, str]]]) -> None:
        self._content = content

    def versions(self, name: str) -> Sequence[str]:
        return list(self._content.get(name, {}))

    def recipe(self, name: str, version: str) -> Recipe:
        dependencies = tuple(Dependency(key, value) for key, value in self._content[name][version].items())
        return Recipe(name=name, version=version, manifests=(), dependencies=dependencies)


def names(content: Any, roots: Mapping[str, str], **installed: str) -> list[str]:
    components = resolve({"group": roots}, catalogue=Versions(content), installed=installed)
    return [f"{item.name} {item.version}" for item in components]


def test_dependencies_come_first_in_the_newest_version_that_fits() -> None:
    content = {
        "app": {"1.0.0": {"agent": "^1.0.0"}},
        "agent": {"1.0.0": {}, "1.4.0": {"lib": "*"}, "2.0.0": {}},
        "lib": {"0.1.0": {}},
    }
    assert names(content, {"app": "1.0.0"}) == ["lib 0.1.0", "agent 1.4.0", "app 1.0.0"]


def test_an_installed_version_that_fits_stays() -> None:
    content = {"app": {"1.0.0": {"agent": "^1.0.0"}}, "agent": {"1.0.0": {}, "1.4.0": {}}}
    assert names(content, {"app": "1.0.0"}, agent="1.0.0") == ["agent 1.0.0", "app 1.0.0"]
    assert names(content, {"app": "1.0.0"}, agent="0.9.0") == ["agent 1.4.0", "app 1.0.0"]


def test_every_requirement_on_a_component_counts() -> None:
    content = {
        "a": {"1.0.0": {"lib": ">=1.0.0"}},
        "b": {"1.0.0": {"lib": "<2.0.0"}},
        "lib": {"1.0.0": {}, "1.9.0": {}, "2.0.0": {}},
    }
    assert "lib 1.9.0" in names(content, {"a": "1.0.0", "b": "1.0.0"})


@pytest.mark.parametrize(
    ("content", "roots", "texts"),
    [
        (
            {"a": {"1.0.0": {"lib": "^2.0.0"}}, "lib": {"1.0.0": {}}},
            {"a": "1.0.0"},
            ["lib", "^2.0.0", "a 1.0.0"],
        ),
        ({"a": {"1.0.0": {"lib": "*"}}}, {"a": "1.0.0"}, ["lib", "none"]),
        (
            {"a": {"1.0.0": {"lib": "^2.0.0"}}, "lib": {"1.0.0": {}}},
            {"a": "1.0.0", "lib": "1.0.0"},
            ["lib", "pins 1.0.0", "^2.0.0"],
        ),
        ({"a": {"1.0.0": {"b": "*"}}, "b": {"1.0.0": {"a": "*"}}}, {"a": "1.0.0"}, ["circle", "a", "b"]),
        ({}, {"aws.greengrass.Cli": "2.0.0"}, ["aws.greengrass.Cli", "emulates only"]),
        (
            {"a": {"1.0.0": {"aws.greengrass.Nucleus": ">=9.0.0"}}},
            {"a": "1.0.0"},
            ["aws.greengrass.Nucleus", ">=9.0.0"],
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(content: Any, roots: Mapping[str, str], texts: list[str]) -> None:
    with pytest.raises(ResolutionError) as caught:
        names(content, roots)
    assert all(text in str(caught.value) for text in texts)


def test_what_the_device_emulates_has_no_recipe() -> None:
    pinned = {"aws.greengrass.Nucleus": "9.9.9"}
    content = {"a": {"1.0.0": {"aws.greengrass.TokenExchangeService": "^2.0.0"}}}
    found = names(content, {"a": "1.0.0", **pinned})
    assert "aws.greengrass.Nucleus 9.9.9" in found
    assert f"aws.greengrass.TokenExchangeService {BUILT_IN['aws.greengrass.TokenExchangeService']}" in found


LETTERS = st.sampled_from("abcde")
VERSIONS = st.sampled_from(["1.0.0", "1.1.0", "2.0.0"])
RANGES = st.sampled_from(["*", "^1.0.0", ">=1.1.0", "<2.0.0", "2.0.0"])
CATALOGUES = st.dictionaries(
    LETTERS, st.dictionaries(VERSIONS, st.dictionaries(LETTERS, RANGES, max_size=2), min_size=1), min_size=1
)


@given(CATALOGUES, st.data())
def test_a_set_satisfies_every_requirement_and_its_order_every_dependency(
    content: dict[str, dict[str, dict[str, str]]], data: st.DataObject
) -> None:
    roots = {
        name: data.draw(st.sampled_from(sorted(content[name])))
        for name in data.draw(st.lists(st.sampled_from(sorted(content)), min_size=1, unique=True))
    }
    try:
        components = resolve({"group": roots}, catalogue=Versions(content), installed={})
    except ResolutionError:
        return
    place = {item.name: i for i, item in enumerate(components)}
    version = {item.name: item.version for item in components}
    assert {name: version[name] for name in roots} == roots
    reachable = set(roots)
    for item in reversed(components):
        assert item.name in reachable, "nothing is there that nobody wants"
        for dependency in item.dependencies:
            assert satisfies(dependency.requirement, version[dependency.name])
            assert place[dependency.name] < place[item.name]
            reachable.add(dependency.name)
