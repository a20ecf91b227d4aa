# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
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


def _remove_thing(folder: Path) -> None:
    (folder / "thing-1.0-py3-none-any.whl").unlink()


def _add(folder: Path) -> None:
    (folder / "more-1.0-py3-none-any.whl").write_bytes(b"more")


def _alter(folder: Path) -> None:
    next(folder.glob("thing*.whl")).write_bytes(b"THING")


def _forget(folder: Path) -> None:
    (folder / INDEX).unlink()


def _garble(folder: Path) -> None:
    (folder / INDEX).write_bytes(b"[]")


mark = pytest.mark.refusal
SAYS = ("expected exactly the wheels of its index", "differs", "run `make wheels`")
NONE = ("amd64", "expected the wheels of the component", "got none", "run `make wheels`")


def _refused(folder: Path, requirements: bytes = REQUIREMENTS, pythons: Sequence[str] = TARGETS.pythons) -> str:
    with pytest.raises(WheelsError) as caught:
        read_wheels(folder, requirements, pythons=pythons)
    return str(caught.value)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        pytest.param(_forget, NONE, marks=mark("Wheels", "none were fetched")),
        pytest.param(_garble, NONE, marks=mark("Wheels", "their index is damaged")),
        pytest.param(_remove_thing, ("thing-1.0-py3-none-any.whl", *SAYS), marks=mark("Wheels", "one is missing")),
        pytest.param(
            _add, ("more-1.0-py3-none-any.whl", *SAYS), marks=mark("Wheels", "one is there that their index lacks")
        ),
        pytest.param(
            _alter,
            (
                "thing-1.0-py3-none-any.whl",
                f"expected a wheel of the lock file with SHA-256 {DIGESTS['thing-1.0-py3-none-any.whl']}",
                f"got {hashlib.sha256(b'THING').hexdigest()}",
                "run `make wheels`",
            ),
            marks=mark("Wheels", "one was altered"),
        ),
    ],
)
def test_what_differs_is_refused_with_the_command_that_fetches_it(
    tmp_path: Path, refusal: Callable[..., None], damage: Callable[[Path], None], says: tuple[str, str, str, str]
) -> None:
    folder = fetched(tmp_path / "amd64")
    damage(folder)
    refusal(_refused(folder), says)


@pytest.mark.parametrize(
    ("requirements", "pythons"),
    [
        pytest.param(REQUIREMENTS + b"\n", TARGETS.pythons, marks=mark("Wheels", "they are another lock file's")),
        pytest.param(REQUIREMENTS, ("3.9",), marks=mark("Wheels", "they are for other versions of Python")),
    ],
)
def test_wheels_of_another_lock_file_or_python_are_refused(
    tmp_path: Path, refusal: Callable[..., None], requirements: bytes, pythons: tuple[str, ...]
) -> None:
    message = _refused(fetched(tmp_path / "amd64"), requirements, pythons)
    expected = f"expected wheels of this lock file for Python {', '.join(pythons)}"
    refusal(message, ("amd64", expected, "fetched for another lock file or other versions", "run `make wheels`"))


@mark("Wheels", "the lock file does not name one, whatever their index says")
def test_a_wheel_that_the_lock_file_does_not_name_is_refused(tmp_path: Path, refusal: Callable[..., None]) -> None:
    requirements = REQUIREMENTS.splitlines(keepends=True)[0]
    message = _refused(fetched(tmp_path / "amd64", requirements=requirements), requirements)
    refusal(
        message, ("other-2.0", "expected a wheel that the lock file names", "which is not there", "run `make wheels`")
    )


@mark("Wheels", "more than Greengrass takes")
def test_more_than_greengrass_takes_is_refused(
    tmp_path: Path, source: ComponentSource, monkeypatch: pytest.MonkeyPatch, refusal: Callable[..., None]
) -> None:
    for architecture in TARGETS.architectures:
        fetched(tmp_path / architecture)
    largest = len(REQUIREMENTS) + 9
    monkeypatch.setattr(wheels, "GREENGRASS_BYTES", largest)
    with pytest.raises(WheelsError) as caught:
        with_wheels(source, TARGETS, folder=tmp_path)
    says = (
        "com.example.Thing: wheels for amd64",
        "expected at most",
        f"got {largest + 1}",
        "name fewer Python versions",
    )
    refusal(
        str(caught.value), says, hide={f"{largest} bytes": "2000000000 bytes", f"got {largest + 1}": "got 2000000001"}
    )
