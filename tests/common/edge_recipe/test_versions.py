# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_recipe import VersionRange, newest, satisfies

NUMBERS = st.integers(0, 999999)
VERSIONS = st.tuples(NUMBERS, NUMBERS, NUMBERS)


def text(version: tuple[int, int, int]) -> str:
    return ".".join(map(str, version))


@pytest.mark.parametrize(
    ("requirement", "inside", "outside"),
    [
        ("^1.2.0", ["1.2.0", "1.9.9"], ["1.1.9", "2.0.0"]),
        ("~1.2.0", ["1.2.9"], ["1.3.0"]),
        (">=2.0.0 <3.0.0", ["2.0.0", "2.99.0"], ["1.9.9", "3.0.0"]),
        ("1.2.3", ["1.2.3"], ["1.2.4"]),
        ("*", ["0.0.1"], []),
        ("1.0.0 || ^2.0.0", ["1.0.0", "2.5.0"], ["1.0.1"]),
    ],
)
def test_ranges_are_npm_s(requirement: str, inside: list[str], outside: list[str]) -> None:
    assert all(satisfies(requirement, version) for version in inside)
    assert not any(satisfies(requirement, version) for version in outside)


@pytest.mark.parametrize("requirement", ["newest", "==1.0", "^1.2.3.4", ">=a"])
def test_what_is_no_range_is_refused(requirement: str) -> None:
    with pytest.raises(ValueError, match="npm's notation"):
        VersionRange(requirement)


@given(st.lists(VERSIONS, max_size=6), VERSIONS)
def test_the_newest_is_the_highest_that_fits(versions: list[tuple[int, int, int]], floor: tuple[int, int, int]) -> None:
    result = newest(map(text, versions), [f">={text(floor)}"])
    expected = max((version for version in versions if version >= floor), default=None)
    assert result == (text(expected) if expected else None)


def test_every_range_counts() -> None:
    assert newest(["1.0.0", "1.5.0", "2.0.0"], [">=1.0.0", "<2.0.0"]) == "1.5.0"
    assert newest(["1.0.0"], ["^1.0.0", "^2.0.0"]) is None
