# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_constructs import wheels
from edge_constructs.component_lock import ComponentLock
from edge_constructs.component_source import ComponentSource
from edge_constructs.wheels import INDEX, WheelsError, WheelTargets, index_of, read_wheels, with_wheels
from edge_package.archive import FileContent
from edge_recipe import render

CONTENTS = {"thing-1.0-py3-none-any.whl": b"thing", "other-2.0-cp311-abi3-manylinux_2_28_x86_64.whl": b"other"}
DIGESTS = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENTS.items()}
REQUIREMENTS = "".join(f"x=={number} --hash=sha256:{one}\n" for number, one in enumerate(DIGESTS.values())).encode()
TARGETS = WheelTargets(architectures=("amd64", "aarch64"), pythons=("3.11", "3.9"))


def fetched(folder: Path, *, requirements: bytes = REQUIREMENTS, pythons: tuple[str, ...] = ("3.9", "3.11")) -> Path:
    """A folder as `make wheels` leaves it."""
    folder.mkdir(parents=True)
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
    (folder / INDEX).write_bytes(index_of(requirements, pythons=pythons, wheels=DIGESTS))
    return folder


@pytest.fixture
def source() -> ComponentSource:
    install = "python3 -I {artifacts:decompressedPath}/thing/edge_install --requirements r.txt"
    return ComponentSource(
        template={
            "RecipeFormatVersion": "2020-01-25",
            "ComponentName": "com.example.Thing",
            "ComponentDescription": "A thing.",
            "ComponentPublisher": "Example",
            "Manifests": [
                {
                    "Platform": {"os": "linux", "runtime": "*"},
                    "Lifecycle": {"install": {"Script": install, "Timeout": 600}, "run": {"Script": "exec ./thing"}},
                    "Artifacts": [{"Uri": "thing.zip", "Unarchive": "ZIP", "Permission": {"Read": "OWNER"}}],
                }
            ],
        },
        content_digest="0" * 64,
        artifacts=("thing.zip",),
        files={"requirements.txt": FileContent(REQUIREMENTS)},
    )


@pytest.fixture
def carrying(tmp_path: Path, source: ComponentSource) -> ComponentSource:
    for architecture in TARGETS.architectures:
        fetched(tmp_path / architecture)
    return with_wheels(source, TARGETS, folder=tmp_path)


def test_each_architecture_has_a_manifest_and_a_zip_of_its_own(carrying: ComponentSource) -> None:
    recipe = render(
        carrying.template,
        namespace="dev",
        version="1.0.1",
        artifact_base_uri="s3://bucket/components/thing",
        own_components=[carrying.name],
        artifacts=carrying.artifacts,
    )
    assert [manifest["Platform"]["architecture"] for manifest in recipe["Manifests"]] == ["amd64", "aarch64"]
    for manifest, architecture in zip(recipe["Manifests"], TARGETS.architectures, strict=True):
        zips = [artifact["Uri"].rpartition("/")[2] for artifact in manifest["Artifacts"]]
        assert zips == ["thing.zip", f"thing-wheels-{architecture}.zip"]
        script = manifest["Lifecycle"]["install"]["Script"]
        assert script.endswith(f"--wheels {{artifacts:decompressedPath}}/thing-wheels-{architecture}")
        assert manifest["Lifecycle"]["run"] == {"Script": "exec ./thing"}
    assert {name: set(files) for name, files in carrying.further.items()} == {
        f"thing-wheels-{architecture}.zip": set(CONTENTS) for architecture in TARGETS.architectures
    }


def test_with_wheels_it_is_another_version_and_without_them_the_same(
    tmp_path: Path, source: ComponentSource, carrying: ComponentSource
) -> None:
    lock = ComponentLock.read(tmp_path / "lock").renewed([source, carrying])
    assert (lock.version_of(source), lock.version_of(carrying)) == ("1.0.0", "1.0.1")
    again = with_wheels(source, TARGETS, folder=tmp_path)
    assert lock.version_of(again) == "1.0.1"
    assert carrying.files == source.files


def _remove(folder: Path) -> None:
    next(folder.glob("*.whl")).unlink()


def _add(folder: Path) -> None:
    (folder / "more-1.0-py3-none-any.whl").write_bytes(b"more")


def _alter(folder: Path) -> None:
    next(folder.glob("thing*.whl")).write_bytes(b"THING")


def _forget(folder: Path) -> None:
    (folder / INDEX).unlink()


def _garble(folder: Path) -> None:
    (folder / INDEX).write_bytes(b"[]")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_remove, "but .*whl differs"),
        (_add, "but more-1.0-py3-none-any.whl differs"),
        (_alter, "thing-1.0-py3-none-any.whl: expected a wheel of the lock file with SHA-256"),
        (_forget, "expected the wheels of the component, got none"),
        (_garble, "expected the wheels of the component, got none"),
    ],
)
def test_what_differs_is_refused_with_the_command_that_fetches_it(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    folder = fetched(tmp_path / "amd64")
    damage(folder)
    with pytest.raises(WheelsError, match=f"{message}.*run `make wheels`"):
        read_wheels(folder, REQUIREMENTS, pythons=TARGETS.pythons)


def test_wheels_of_another_lock_file_or_python_are_refused(tmp_path: Path) -> None:
    folder = fetched(tmp_path / "amd64")
    for requirements, pythons in ((REQUIREMENTS + b"\n", TARGETS.pythons), (REQUIREMENTS, ("3.9",))):
        with pytest.raises(WheelsError, match="for another lock file or other versions: run `make wheels`"):
            read_wheels(folder, requirements, pythons=pythons)


def test_a_wheel_that_the_lock_file_does_not_name_is_refused_whatever_the_index_says(tmp_path: Path) -> None:
    requirements = REQUIREMENTS.splitlines(keepends=True)[0]
    folder = fetched(tmp_path / "amd64", requirements=requirements)
    with pytest.raises(WheelsError, match=r"other-2\.0.*expected a wheel of the lock file"):
        read_wheels(folder, requirements, pythons=TARGETS.pythons)


def test_more_than_greengrass_takes_is_refused(
    tmp_path: Path, source: ComponentSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    for architecture in TARGETS.architectures:
        fetched(tmp_path / architecture)
    monkeypatch.setattr(wheels, "GREENGRASS_BYTES", len(REQUIREMENTS) + 9)
    with pytest.raises(WheelsError, match=r"com\.example\.Thing: wheels for amd64: .* fewer Python versions"):
        with_wheels(source, TARGETS, folder=tmp_path)
