# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
import io
import itertools
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_package import MANIFEST_NAME, SIGNATURE_NAME, PackageError, make_manifest, read_package
from edge_package.package_stream import PackageWriter, build_package, check_package_stream
from edge_package.stored_gzip import StoredGzipWriter


def written(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    writer = PackageWriter(stream, model_name="digits", model_version="1.0")
    for path in sorted(files):
        writer.add(path, len(files[path]), io.BytesIO(files[path]))
    writer.finish()
    return stream.getvalue()


@given(content=st.binary(max_size=200_000), cuts=st.lists(st.integers(0, 200_000), max_size=6))
def test_gzip_reads_what_was_written_and_the_cuts_leave_no_trace(content: bytes, cuts: list[int]) -> None:
    def stored(pieces: list[bytes]) -> bytes:
        stream = io.BytesIO()
        writer = StoredGzipWriter(stream)
        for piece in pieces:
            writer.write(piece)
        writer.finish()
        return stream.getvalue()

    places = [0, *sorted(cut for cut in cuts if cut < len(content)), len(content)]
    pieces = [content[start:end] for start, end in itertools.pairwise(places)]
    assert stored(pieces) == stored([content])
    assert gzip.decompress(stored([content])) == content


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8})?", fullmatch=True), st.binary(max_size=2000), min_size=1, max_size=4
    )
)
def test_a_package_is_its_manifest_and_reads_back(files: dict[str, bytes]) -> None:
    content = written(files)
    manifest = make_manifest(model_name="digits", model_version="1.0", files=files)
    assert check_package_stream(io.BytesIO(content), source="package") == manifest
    assert content == written(files)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        assert tar.getnames() == [*sorted(files), MANIFEST_NAME]


def test_any_flipped_byte_of_a_file_or_of_the_manifest_is_noticed() -> None:
    content = written({"model.onnx": b"weights"})
    for part in (b"weights", b'"schema_version"'):
        at = content.index(part) + 1
        flipped = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        with pytest.raises(PackageError):
            check_package_stream(io.BytesIO(flipped), source="package")


@pytest.mark.parametrize(
    ("names", "named"),
    [
        ([MANIFEST_NAME, "model.onnx"], "'model.onnx'"),  # unpacked in part, it would look like a package
        (["model.onnx", "model.onnx", MANIFEST_NAME], "'model.onnx'"),
        (["model.onnx", MANIFEST_NAME, MANIFEST_NAME], f"'{MANIFEST_NAME}'"),
    ],
)
def test_files_come_once_and_the_manifest_last(names: list[str], named: str) -> None:
    files = {"model.onnx": b"weights"}
    files[MANIFEST_NAME] = make_manifest(model_name="digits", model_version="1.0", files=files).canonical()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(files[name])
            archive.addfile(member, io.BytesIO(files[name]))
    with pytest.raises(PackageError, match=f"{named}: plain files are expected, each once, manifest last"):
        check_package_stream(io.BytesIO(stream.getvalue()), source="package")


@pytest.mark.parametrize("length", [0, 5, 100, 700])
def test_a_cut_package_is_refused(length: int) -> None:
    with pytest.raises(PackageError, match=r"^package: "):
        check_package_stream(io.BytesIO(written({"model.onnx": b"weights"})[:length]), source="package")


@pytest.mark.parametrize(("size", "found"), [(6, "more"), (8, "7")])
def test_a_source_of_another_length_is_refused(size: int, found: str) -> None:
    writer = PackageWriter(io.BytesIO(), model_name="digits", model_version="1.0")
    with pytest.raises(PackageError, match=f"{size} bytes are expected, got {found}"):
        writer.add("model.onnx", size, io.BytesIO(b"weights"))


def test_files_come_in_order() -> None:
    writer = PackageWriter(io.BytesIO(), model_name="digits", model_version="1.0")
    writer.add("b", 0, io.BytesIO())
    with pytest.raises(PackageError, match="files come in order"):
        writer.add("a", 0, io.BytesIO())


@pytest.mark.parametrize("name", [".hidden", "folder/.hidden", SIGNATURE_NAME, MANIFEST_NAME])
def test_what_an_installation_would_lose_or_overwrite_is_not_packaged(name: str) -> None:
    writer = PackageWriter(io.BytesIO(), model_name="digits", model_version="1.0")
    with pytest.raises(PackageError, match="package path"):
        writer.add(name, 0, io.BytesIO())


def test_a_package_of_files_is_flat_deterministic_and_verifies_after_unpacking(tmp_path: Path) -> None:
    contents = {"model.onnx": b"weights" * 1000, "labels.txt": b"0\n1\n", "extra/notes": b""}
    files = {name: tmp_path / "source" / name for name in contents}
    for name, path in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents[name])
    first, second = tmp_path / "digits-1.0.tar.gz", tmp_path / "again.tar.gz"
    manifest = build_package(model_name="digits", model_version="1.0", files=files, target=first)
    build_package(model_name="digits", model_version="1.0", files=dict(reversed(files.items())), target=second)
    assert first.read_bytes() == second.read_bytes() == written(contents)
    with tarfile.open(first) as tar:
        assert tar.getnames() == [*sorted(files), MANIFEST_NAME]
    (tmp_path / "unpacked").mkdir()
    subprocess.run(["tar", "-xzf", str(first), "-C", str(tmp_path / "unpacked")], check=True)  # noqa: S607 -- POSIX's
    package = read_package(tmp_path / "unpacked")
    assert (package.manifest, package.contents) == (manifest, contents)


def test_a_package_that_cannot_be_built_leaves_nothing(tmp_path: Path) -> None:
    files = {"a": tmp_path / "a", "b": tmp_path / "missing"}
    files["a"].write_bytes(b"weights")
    with pytest.raises(FileNotFoundError):
        build_package(model_name="digits", model_version="1", files=files, target=tmp_path / "p.tar.gz")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
