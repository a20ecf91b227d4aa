# SPDX-License-Identifier: Apache-2.0
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_package import MANIFEST_NAME, FileEntry, Manifest, PackageError, build_package, read_package, write_directory
from edge_package.manifest import check_path

FILES = {"model.onnx": b"weights" * 1000, "labels.txt": b"0\n1\n", "extra/notes": b""}

_part = st.text("abcdefghXYZ019._-", min_size=1, max_size=8).filter(lambda part: part not in {".", ".."})
_path = st.lists(_part, min_size=1, max_size=3).map("/".join).filter(lambda path: path != MANIFEST_NAME)
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


def test_the_archive_is_flat_deterministic_and_verifies_after_unpacking(tmp_path: Path) -> None:
    first, second = tmp_path / "digits-1.0.tar.gz", tmp_path / "again.tar.gz"
    manifest = build_package(model_name="digits", model_version="1.0", files=FILES, target=first)
    build_package(model_name="digits", model_version="1.0", files=dict(reversed(FILES.items())), target=second)
    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as tar:
        assert tar.getnames() == [*sorted(FILES), MANIFEST_NAME]
        tar.extractall(tmp_path / "unpacked", filter="data")
    package = read_package(tmp_path / "unpacked")
    assert package.manifest == manifest
    assert package.contents == FILES


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    contents = iter([b"first reading", b"second reading"])
    with pytest.raises(PackageError, match="changed while"):
        build_package(
            model_name="digits",
            model_version="1",
            files={"model": lambda: io.BytesIO(next(contents))},
            target=tmp_path / "p.tar.gz",
        )
    assert list(tmp_path.iterdir()) == []


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
