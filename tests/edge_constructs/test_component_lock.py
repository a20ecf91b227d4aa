# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_constructs.component_lock import ComponentLock, ComponentLockError
from edge_constructs.component_source import ComponentSource, model_component
from edge_constructs.packaging_job import package_prefix
from stacks.components import load_model


def source(content: str, name: str = "com.edgemanager.Agent", variant: str = "") -> ComponentSource:
    return ComponentSource(template={"ComponentName": name}, content_digest=content, variant=variant)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=8))
def test_versions_only_grow_and_each_stands_for_one_content(history: list[str]) -> None:
    lock = ComponentLock(Path("lock"), {})
    seen: dict[str, str] = {}
    numbers = []
    for content in history:
        lock = lock.renewed([source(content)])
        version = lock.version_of(source(content))
        assert seen.setdefault(version, content) == content
        numbers.append(tuple(map(int, version.split("."))))
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == 1 + sum(a != b for a, b in itertools.pairwise(history))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["", "sagemaker", "rasp4b"])), min_size=1))
def test_no_version_stands_for_two_contents_whatever_variants_there_are(history: list[tuple[str, str]]) -> None:
    lock = ComponentLock(Path("lock"), {})
    stands_for: dict[str, tuple[str, str]] = {}
    current: dict[str, tuple[str, str]] = {}
    for content, variant in history:
        one = source(content, variant=variant)
        lock = lock.renewed([one])
        version = lock.version_of(one)
        assert stands_for.setdefault(version, (content, variant)) == (content, variant)
        current[variant] = (content, version)
        for other, (former, held) in current.items():  # a variant that did not change keeps its version
            assert lock.version_of(source(former, variant=other)) == held


def test_a_variant_without_a_version_says_where_its_settings_belong() -> None:
    lock = ComponentLock(Path("lock"), {}).renewed([source("a")])
    with pytest.raises(ComponentLockError, match=r"Agent@rasp4b has no version yet: run `make lock`.*file"):
        lock.version_of(source("a", variant="rasp4b"))


def test_a_version_that_two_variants_claim_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "components.lock"
    path.write_text(json.dumps({"a": {"1.0.0": "0" * 64}, "a@x": {"1.0.0": "1" * 64}}))
    with pytest.raises(ComponentLockError, match=r"a and a@x: 1\.0\.0 is expected once"):
        ComponentLock.read(path)


def test_a_lock_reads_back(tmp_path: Path) -> None:
    lock = ComponentLock.read(tmp_path / "components.lock").renewed([source("a"), source("b", "other")])
    lock.write()
    again = ComponentLock.read(tmp_path / "components.lock")
    assert again.version_of(source("a")) == "1.0.0"
    assert again.renewed([source("a"), source("b", "other")]).changes_from(again) == []
    assert again.renewed([source("c")]).changes_from(again) == ["com.edgemanager.Agent: 1.0.0 -> 1.0.1"]
    assert [path.name for path in tmp_path.iterdir()] == ["components.lock"]


def test_a_component_that_left_keeps_its_last_version() -> None:
    lock = ComponentLock(Path("lock"), {}).renewed([source("a")]).renewed([])
    assert lock.renewed([source("b")]).version_of(source("b")) == "1.0.1"


def test_changed_or_unknown_content_fails_with_the_command_that_mends_it() -> None:
    lock = ComponentLock(Path("lock"), {}).renewed([source("a")])
    with pytest.raises(ComponentLockError, match=r"Agent 1\.0\.0 stands for other content.*make lock"):
        lock.version_of(source("b"))
    with pytest.raises(ComponentLockError, match=r"unknown has no version yet.*make lock"):
        lock.version_of(source("a", "unknown"))


A, B = "a" * 64, "b" * 64


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "JSON is expected"),
        ("[]", "an object is expected"),
        ('{"a": 1}', "versions with digests"),
        ('{"a": {}}', "versions with digests"),
        (json.dumps({"a": {"1.0": A}}), r"a version like 1\.2\.3"),
        (json.dumps({"a": {"1.0.0": "x"}}), "SHA-256"),
        (json.dumps({"a": {"1.0.1": A, "1.0.0": B}}), r"1\.0\.0 follows 1\.0\.1: versions only grow.*make lock"),
        (json.dumps({"a": {"1.0.9": A, "1.0.10": B, "1.0.2": A}}), r"1\.0\.2 follows 1\.0\.10"),
        (json.dumps({"a": {"1.0.0": A, "1.0.1": A}}), r"same content as 1\.0\.0: a version without a change"),
    ],
)
def test_a_damaged_lock_is_refused_by_name(content: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "components.lock"
    path.write_text(content)
    with pytest.raises(ComponentLockError, match=rf"(?s)components\.lock.*{expected}"):
        ComponentLock.read(path)


def test_a_major_version_may_be_raised_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "components.lock"
    path.write_text(json.dumps({"com.edgemanager.Agent": {"1.0.0": A, "2.0.0": B}}))
    lock = ComponentLock.read(path).renewed([source("new")])
    assert lock.version_of(source("new")) == "2.0.1"


def test_settings_that_return_get_a_new_number_for_the_same_package_by_another_description() -> None:
    model = load_model("digits")
    plain, compiled = model_component(model), model_component(model, made="rasp4b-1", variant="rasp4b-1")
    lock = ComponentLock(Path("lock"), {}).renewed([plain]).renewed([plain, compiled])
    assert lock.renewed([plain, compiled]).version_of(plain) == "1.0.0", "which an account still has: see models.md"
    reworded = dataclasses.replace(model, description="Other words.")  # type: ignore[type-var] # pydantic's are ones
    again = model_component(reworded)
    assert lock.renewed([again, compiled]).version_of(again) == "1.0.2"
    assert (package_prefix(reworded), again.artifacts) == (package_prefix(model), plain.artifacts)
