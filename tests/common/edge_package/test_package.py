# SPDX-License-Identifier: Apache-2.0
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_package import (
    MANIFEST_NAME,
    SIGNATURE_NAME,
    FileEntry,
    Manifest,
    PackageError,
    read_package,
    write_directory,
)
from edge_package import package as package_module
from edge_package.manifest import check_path

FILES = {"model.onnx": b"weights" * 1000, "labels.txt": b"0\n1\n", "extra/notes": b""}

_part = st.text("abcdefghXYZ019._-", min_size=1, max_size=8).filter(lambda part: not part.startswith("."))
_path = st.lists(_part, min_size=1, max_size=3).map("/".join)
_hidden = st.text("abcXYZ019._-", max_size=8).map(".{}".format)
_entries = st.lists(
    st.builds(
        FileEntry, path=_path, size=st.integers(0, 2**40), sha256=st.text("0123456789abcdef", min_size=64, max_size=64)
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda entry: entry.path.casefold(),
)


@given(_entries)
def test_a_manifest_reads_back_from_its_canonical_form(entries: list[FileEntry]) -> None:
    manifest = Manifest(model_name="digits", model_version="1.0", files=tuple(entries))
    assert Manifest.parse(manifest.canonical()) == manifest
    shuffled = Manifest(model_name="digits", model_version="1.0", files=tuple(reversed(entries)))
    assert shuffled.digest == manifest.digest


@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused_as_a_manifest(content: bytes) -> None:
    with pytest.raises(PackageError, match=MANIFEST_NAME):
        Manifest.parse(content)


def test_a_manifest_that_was_reformatted_is_refused() -> None:
    manifest = Manifest(model_name="digits", model_version="1.0", files=(FileEntry("a", 0, "0" * 64),))
    with pytest.raises(PackageError, match="canonical"):
        Manifest.parse(manifest.canonical().replace(b",", b", "))


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../up", "a/../../b", "a//b", "a\\b", "C:x", "a\nb", MANIFEST_NAME, "."]
)
def test_a_path_that_could_leave_the_package_is_refused(path: str) -> None:
    with pytest.raises(PackageError):
        check_path(path)


@given(st.lists(_part, max_size=2), _hidden, st.lists(_part, max_size=2))
def test_a_name_with_a_leading_dot_is_refused_wherever_it_stands(
    before: list[str], name: str, after: list[str]
) -> None:
    path = "/".join([*before, name, *after])
    with pytest.raises(PackageError, match="package path"):
        check_path(path)
    with pytest.raises(PackageError, match="package path"):
        FileEntry(path, 0, "0" * 64)


@given(st.sampled_from([MANIFEST_NAME, SIGNATURE_NAME]), st.lists(st.booleans(), min_size=30, max_size=30))
def test_the_names_of_manifest_and_signature_are_taken_in_any_case(name: str, upper: list[bool]) -> None:
    path = "".join(letter.upper() if raised else letter for letter, raised in zip(name, upper, strict=False))
    with pytest.raises(PackageError, match="the manifest's own name, or its signature's"):
        check_path(path)
    check_path(f"folder/{name}")


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [
        ("-digits", "1.0", "model name"),
        ("di_gits", "1.0", "model name"),
        ("digits", "1-0", "model version"),
        ("digits", "", "model version"),
    ],
)
def test_names_follow_the_service(name: str, version: str, expected: str) -> None:
    with pytest.raises(PackageError, match=expected):
        Manifest(model_name=name, model_version=version, files=(FileEntry("a", 0, "0" * 64),))


def test_paths_that_differ_in_case_alone_are_refused() -> None:
    with pytest.raises(PackageError, match="same file"):
        Manifest(
            model_name="digits", model_version="1", files=(FileEntry("a", 0, "0" * 64), FileEntry("A", 0, "0" * 64))
        )


def _tamper(directory: Path) -> None:
    (directory / "model.onnx").write_bytes(b"weighty" * 1000)


def _cut(directory: Path) -> None:
    (directory / "labels.txt").write_bytes(b"0\n")


def _remove(directory: Path) -> None:
    (directory / "labels.txt").unlink()


def _add(directory: Path) -> None:
    (directory / "extra" / "more").write_bytes(b"")


def _link(directory: Path) -> None:
    (directory / "labels.txt").unlink()
    (directory / "labels.txt").symlink_to("/etc/hostname")


def _pipe(directory: Path) -> None:
    os.mkfifo(directory / "pipe")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_tamper, "model.onnx"),
        (_cut, "labels.txt"),
        (_remove, "labels.txt"),
        (_add, "extra/more"),
        (_link, "labels.txt"),
        (_pipe, "pipe"),
    ],
)
def test_a_changed_package_is_refused_with_the_files_name(
    change: Callable[[Path], None], named: str, tmp_path: Path
) -> None:
    write_directory(model_name="digits", model_version="1.0", files=FILES, target=tmp_path)
    assert read_package(tmp_path).contents == FILES
    change(tmp_path)
    with pytest.raises(PackageError, match=named):
        read_package(tmp_path)


def test_a_directory_without_a_manifest_is_no_package(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(PackageError, match=f"no {MANIFEST_NAME}"):
        read_package(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_package(tmp_path / "nowhere")


def test_a_link_that_takes_a_files_place_after_the_listing_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, real = tmp_path / "package", package_module._list_files
    write_directory(model_name="digits", model_version="1.0", files=FILES, target=directory)

    def list_files(listed: Path) -> set[str]:
        found = real(listed)
        (directory / "model.onnx").rename(tmp_path / "same")
        (directory / "model.onnx").symlink_to(tmp_path / "same")
        return found

    monkeypatch.setattr(package_module, "_list_files", list_files)
    with pytest.raises(OSError, match=r"model\.onnx"):
        read_package(directory)


def test_a_package_of_sagemakers_own_job_is_refused_with_the_way_to_take_it_over() -> None:
    content = b'{"metadata": {"model_name": "scanner", "model_version": "1.0"}, "more": 1}'
    with pytest.raises(PackageError, match="put its files into a model folder and package that"):
        Manifest.parse(content)
