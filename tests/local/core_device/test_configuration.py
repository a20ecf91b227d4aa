# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.core_device.configuration import ConfigurationStore, deployed, lookup, merged, reset

if TYPE_CHECKING:
    from pathlib import Path

KEYS = st.text("abAB./~", min_size=1, max_size=3)
VALUES = st.recursive(
    st.one_of(st.text(max_size=3), st.booleans(), st.none(), st.lists(st.text(max_size=2), max_size=2)),
    lambda inner: st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
CONFIGURATIONS = st.dictionaries(KEYS, VALUES, max_size=4)


def leaves(value: Any, path: tuple[str, ...] = ()) -> Any:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif path:
        yield path, value


@given(CONFIGURATIONS, CONFIGURATIONS)
def test_after_a_merge_every_value_of_the_update_is_there(base: dict[str, Any], update: dict[str, Any]) -> None:
    result = merged(base, update)
    for path, value in leaves(update):
        if value != {}:
            assert lookup(result, path) == value
    assert merged(result, update) == result
    assert merged(base, {}) == base
    assert set(result) == set(base) | set(update)


@given(CONFIGURATIONS, CONFIGURATIONS)
def test_a_reset_of_everything_gives_the_defaults(base: dict[str, Any], defaults: dict[str, Any]) -> None:
    assert reset(base, [""], defaults=defaults) == defaults


@given(CONFIGURATIONS, CONFIGURATIONS, st.data())
def test_a_reset_of_a_key_touches_that_key_alone(
    base: dict[str, Any], defaults: dict[str, Any], data: st.DataObject
) -> None:
    key = data.draw(st.sampled_from(sorted({*base, *defaults, "absent"})))
    result = reset(base, ["/" + key.replace("~", "~0").replace("/", "~1")], defaults=defaults)
    assert {k: v for k, v in result.items() if k != key} == {k: v for k, v in base.items() if k != key}
    assert (key in result) == (key in defaults)
    assert result.get(key) == defaults.get(key)


@pytest.mark.parametrize("pointer", ["/missing/deeper", "/list/0", "/text/x"])
def test_a_reset_of_what_is_not_there_changes_nothing(pointer: str) -> None:
    base = {"list": ["a"], "text": "b"}
    assert reset(base, [pointer], defaults={}) == base


def test_the_device_s_values_stay_the_new_defaults_come_the_deployment_wins() -> None:
    existing = {"A": "mine", "Old": "1", "Nested": {"x": "mine"}, "List": ["1", "2"]}
    defaults = {"A": "new", "B": "new", "Nested": {"x": "new", "y": "new"}, "List": ["9"]}
    result = deployed(existing, defaults=defaults, reset_pointers=["/Old"], merge={"B": "deployed", "List": ["3"]})
    assert result == {"A": "mine", "B": "deployed", "Nested": {"x": "mine", "y": "new"}, "List": ["3"]}
    assert deployed(None, defaults=defaults, merge={}) == defaults
    assert deployed(existing, defaults=defaults, reset_pointers=["/A"], merge={})["A"] == "new"


def test_values_are_found_again_after_a_restart(tmp_path: Path) -> None:
    ConfigurationStore(tmp_path / "config").set("com.example.App", {"A.b": "1"})
    again = ConfigurationStore(tmp_path / "config")
    assert again.get("com.example.App") == {"A.b": "1"}
    again.remove("com.example.App")
    assert ConfigurationStore(tmp_path / "config").get("com.example.App") is None


def test_what_a_deployment_set_is_undone_after_a_power_cut(tmp_path: Path) -> None:
    store = ConfigurationStore(tmp_path / "config")
    store.set("kept", {"A": "1"})
    store.set("gone", {"B": "1"})
    store.begin()
    store.set("kept", {"A": "2"})
    store.set("new", {"C": "1"})
    store.remove("gone")
    again = ConfigurationStore(tmp_path / "config")
    again.roll_back()
    assert [again.get(name) for name in ("kept", "gone", "new")] == [{"A": "1"}, {"B": "1"}, None]
    again.set("kept", {"A": "3"})
    again.roll_back()
    assert again.get("kept") == {"A": "3"}


def test_a_caller_cannot_change_what_is_stored(tmp_path: Path) -> None:
    store = ConfigurationStore(tmp_path / "config")
    store.set("app", {"Nested": {"a": "1"}})
    copy = store.get("app")
    assert copy is not None
    copy["Nested"]["a"] = "2"
    assert store.get("app") == {"Nested": {"a": "1"}}


@pytest.mark.parametrize("path", [["missing"], ["a", "b"], ["list", "0"]])
def test_a_path_to_nothing_is_an_error(path: list[str]) -> None:
    with pytest.raises(LookupError, match="/".join(path)):
        lookup({"a": "1", "list": ["x"]}, path)
