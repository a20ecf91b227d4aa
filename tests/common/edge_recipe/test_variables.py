# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_recipe import MissingValueError, RecipeError, VariableValues, interpolate, resolve_pointer

VALUES = VariableValues(
    artifacts_path="/g/artifacts/app/1.0.0",
    artifacts_decompressed_path="/g/unarchived/app/1.0.0",
    work_path="/g/work/app",
    thing_name="device-1",
    root_path="/g",
    configuration={"A": "1", "Flag": True, "List": ["x"], "Nested": {"a/b": "2", "c.D": {"e": "3"}}, "N": None},
)
KNOWN = ["{artifacts:path}", "{work:path}", "{configuration:/A}", "{iot:thingName}", "{kernel:rootPath}"]


@pytest.mark.parametrize(
    ("script", "result"),
    [
        ("cd {artifacts:path} && ls $HOME", "cd /g/artifacts/app/1.0.0 && ls $HOME"),
        ("{artifacts:decompressedPath}/app", "/g/unarchived/app/1.0.0/app"),
        ("{work:path} {kernel:rootPath} {iot:thingName}", "/g/work/app /g device-1"),
        ("{configuration:/A}{configuration:/A}", "11"),
        ("{configuration:/Nested/a~1b} {configuration:/Nested/c.D/e}", "2 3"),
        ("{configuration:/Nested/c.D}", '{"e":"3"}'),
        ("{configuration:/List/0} {configuration:/Flag} {configuration:/N}", "x true null"),
    ],
)
def test_variables_are_replaced(script: str, result: str) -> None:
    assert interpolate(script, VALUES, source="app") == result


@pytest.mark.parametrize(
    "script",
    [
        "${HOME}",
        "{unknown}",
        "a } b",
        "a { b",
        "{}",
        "{ work:path }",
        "{configuration:A}",
        "{app:work:path}",
        "${work:path}",
    ],
)
def test_anything_else_in_braces_is_refused(script: str) -> None:
    with pytest.raises(RecipeError, match="app: 1 problem"):
        interpolate(script, VALUES, source="app")


@pytest.mark.parametrize("pointer", ["/Missing", "/A/x", "/List/1", "/List/x", "/Nested/a"])
def test_a_value_that_is_not_there_is_refused_by_its_pointer(pointer: str) -> None:
    with pytest.raises(RecipeError, match=pointer):
        interpolate(f"echo {{configuration:{pointer}}}", VALUES, source="app")


@given(st.lists(st.one_of(st.sampled_from(KNOWN), st.text(st.characters(blacklist_characters="{}$"))), max_size=8))
def test_no_known_variable_is_left_and_the_rest_is_as_it_was(parts: list[str]) -> None:
    result = interpolate("".join(parts), VALUES, source="app")
    expected = [interpolate(part, VALUES, source="app") if part in KNOWN else part for part in parts]
    assert result == "".join(expected)


@given(st.text())
def test_a_value_is_never_interpolated_again(value: str) -> None:
    values = dataclasses.replace(VALUES, configuration={"A": value})
    assert interpolate("<{configuration:/A}>", values, source="app") == f"<{value}>"


@given(st.dictionaries(st.text(), st.integers(), max_size=5))
def test_pointers_lead_to_every_key(document: dict[str, int]) -> None:
    for key, value in document.items():
        pointer = "/" + key.replace("~", "~0").replace("/", "~1")
        assert resolve_pointer(document, pointer) == value
    assert resolve_pointer(document, "") == document


@pytest.mark.parametrize("document", [{}, [], "text", None, 1])
def test_a_pointer_to_nothing_says_so(document: Any) -> None:
    with pytest.raises(MissingValueError):
        resolve_pointer(document, "/a")
