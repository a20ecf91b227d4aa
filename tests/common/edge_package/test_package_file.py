# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
import io
import os
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_package import (
    MANIFEST_NAME,
    SIGNATURE_NAME,
    PackageError,
    make_manifest,
    measure_package_file,
    read_package_file,
)
from edge_package.package_stream import PackageWriter

FILES = {"model.onnx": b"weights", "labels/en.txt": b"zero\none\n"}


def build(target: Path) -> None:
    with target.open("wb") as stream:
        writer = PackageWriter(stream, model_name="digits", model_version="1.0")
        for name in sorted(FILES):
            writer.add(name, len(FILES[name]), io.BytesIO(FILES[name]))
        writer.finish()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    target = tmp_path / "digits-1.0.tar.gz"
    build(target)
    return target


def manifest() -> bytes:
    return make_manifest(model_name="digits", model_version="1.0", files=FILES).canonical()


def packed(tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    """A package file of the manifest and whatever else."""
    target = tmp_path / "evil.tar.gz"
    head = tarfile.TarInfo(MANIFEST_NAME)
    head.size = len(manifest())
    with tarfile.open(target, "w:gz") as archive:
        archive.addfile(head, io.BytesIO(manifest()))
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return target


def link(name: str, kind: bytes, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def test_what_was_packed_is_read(package: Path) -> None:
    read = read_package_file(package, max_bytes=1 << 20)
    assert dict(read.contents) == FILES
    assert read.manifest == make_manifest(model_name="digits", model_version="1.0", files=FILES)


def test_an_archive_of_a_folder_is_read_as_well(tmp_path: Path) -> None:
    target = tmp_path / "by-hand.tar.gz"
    with tarfile.open(target, "w:gz") as archive:
        for name in (".", "./labels"):
            folder = tarfile.TarInfo(name)
            folder.type = tarfile.DIRTYPE
            archive.addfile(folder)
        for name, content in {**FILES, MANIFEST_NAME: manifest()}.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    assert dict(read_package_file(target, max_bytes=1 << 20).contents) == FILES


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ([(tarfile.TarInfo("../outside"), b"x")], r"package path '\.\./outside'"),
        ([(tarfile.TarInfo("/etc/passwd"), b"x")], "package path '/etc/passwd'"),
        ([(tarfile.TarInfo("a/../../b"), b"x")], r"package path 'a/\.\./\.\./b'"),
        ([(link("model.onnx", tarfile.SYMTYPE, "/etc/shadow"), b"")], "model.onnx: only plain files"),
        ([(link("model.onnx", tarfile.LNKTYPE, MANIFEST_NAME), b"")], "model.onnx: only plain files"),
        ([(link("device", tarfile.CHRTYPE, ""), b"")], "device: only plain files"),
        ([(link("pipe", tarfile.FIFOTYPE, ""), b"")], "pipe: only plain files"),
        ([(tarfile.TarInfo("model.onnx"), b"weights")] * 2, "model.onnx: expected it once"),
        ([(tarfile.TarInfo("model.onnx"), b"weights")], "labels/en.txt: listed in the manifest but missing"),
        ([(tarfile.TarInfo("model.onnx"), b"weighty"), (tarfile.TarInfo("labels/en.txt"), b"x")], "labels/en.txt"),
        (
            [(tarfile.TarInfo(name), content) for name, content in {**FILES, "extra": b"x"}.items()],
            "extra: not listed in the manifest",
        ),
    ],
)
def test_a_hostile_package_is_refused_and_the_file_named(
    tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]], named: str
) -> None:
    with pytest.raises(PackageError, match=named):
        read_package_file(packed(tmp_path, members), max_bytes=1 << 20)


def test_a_bomb_is_refused_long_before_it_is_unpacked(tmp_path: Path) -> None:
    target = tmp_path / "bomb.tar.gz"
    zeros = tarfile.TarInfo("model.onnx")
    zeros.size = 1 << 30
    block = bytes(1 << 20)
    with gzip.open(target, "wb", compresslevel=1) as stream:
        stream.write(zeros.tobuf())
        for _ in range(200):
            stream.write(block)
    for read in (measure_package_file, read_package_file):
        tracemalloc.start()
        with pytest.raises(PackageError, match="at most 1048576 bytes when unpacked, got at least 1073741824"):
            read(target, max_bytes=1 << 20)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1 << 20  # its header says it all: nothing of it was unpacked


def test_what_fills_the_bound_exactly_is_read_and_one_byte_more_is_not(package: Path) -> None:
    size = sum(map(len, FILES.values())) + len(manifest())
    assert measure_package_file(package, max_bytes=size) == size
    assert dict(read_package_file(package, max_bytes=size).contents) == FILES
    for read in (measure_package_file, read_package_file):
        with pytest.raises(PackageError, match=f"at most {size - 1} bytes when unpacked, got at least {size}"):
            read(package, max_bytes=size - 1)


def test_files_without_end_are_refused(tmp_path: Path) -> None:
    target = tmp_path / "many.tar.gz"
    with gzip.open(target, "wb", compresslevel=1) as stream:
        for number in range(10_001):
            stream.write(tarfile.TarInfo(f"{number}").tobuf())
        stream.write(bytes(2 * tarfile.BLOCKSIZE))
    with pytest.raises(PackageError, match="expected at most 10000 files, got more"):
        measure_package_file(target, max_bytes=1 << 20)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_bomb_in_a_header_is_refused(tmp_path: Path, kind: bytes) -> None:
    target = tmp_path / "header.tar.gz"
    extended = tarfile.TarInfo("././@LongLink")
    extended.type, extended.size = kind, 64 << 20
    with gzip.open(target, "wb", compresslevel=1) as stream:
        stream.write(extended.tobuf())
        stream.write(bytes(64 << 20))
    tracemalloc.start()
    with pytest.raises(PackageError, match="at most 65536 bytes of headers at once"):
        measure_package_file(target, max_bytes=1 << 30)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_what_will_be_held_is_known_without_holding_it(tmp_path: Path) -> None:
    target = tmp_path / "zeros.tar.gz"
    zeros = tarfile.TarInfo("weights")
    path = packed(tmp_path, [(zeros, bytes(32 << 20))])
    path.rename(target)
    assert target.stat().st_size < 1 << 20
    tracemalloc.start()
    assert measure_package_file(target, max_bytes=1 << 30) == (32 << 20) + len(manifest())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("name", [".hidden", "labels/.hidden", SIGNATURE_NAME])
def test_a_name_that_the_packaging_job_refuses_is_refused_here_as_well(name: str, tmp_path: Path) -> None:
    members = [(tarfile.TarInfo(path), content) for path, content in {**FILES, name: b""}.items()]
    with pytest.raises(PackageError, match="package path"):
        read_package_file(packed(tmp_path, members), max_bytes=1 << 20)


def test_what_is_no_package_is_refused(tmp_path: Path, package: Path) -> None:
    cases = {
        "text.tar.gz": b"hello",
        "empty.tar.gz": b"",
        "cut.tar.gz": package.read_bytes()[:-20],
        "nothing.tar.gz": gzip.compress(bytes(10240)),
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(PackageError, match=name):
            read_package_file(tmp_path / name, max_bytes=1 << 20)
    os.mkfifo(tmp_path / "pipe.tar.gz")
    with pytest.raises(PackageError, match="expected a plain file"):
        read_package_file(tmp_path / "pipe.tar.gz", max_bytes=1 << 20)
    with pytest.raises(FileNotFoundError):
        read_package_file(tmp_path / "absent.tar.gz", max_bytes=1 << 20)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], tuple[Path, bytes]]:
    target = tmp_path_factory.mktemp("package") / "whole.tar.gz"
    build(target)
    return lambda: (target, gzip.decompress(target.read_bytes()))


@hypothesis.settings(deadline=None)  # it waits for a disk that others use too
@given(st.data())
def test_no_change_of_a_byte_goes_unnoticed(whole: Callable[[], tuple[Path, bytes]], data: st.DataObject) -> None:
    target, content = whole()
    changed = bytearray(content)
    position = data.draw(st.integers(0, len(changed) - 1))
    changed[position] ^= data.draw(st.integers(1, 255))
    path = target.with_name("changed.tar.gz")
    path.write_bytes(gzip.compress(bytes(changed), 1))
    try:
        read = read_package_file(path, max_bytes=1 << 20)
    except PackageError:
        return
    # What a tar keeps of modes, owners and padding is not of the package.
    assert dict(read.contents) == FILES


@pytest.mark.parametrize("headers", [{"GNU.sparse.map": "1,x"}, {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}])
def test_an_extended_header_that_is_none_is_refused(tmp_path: Path, headers: dict[str, str]) -> None:
    member = tarfile.TarInfo("model.onnx")
    member.pax_headers = headers
    with pytest.raises(PackageError, match=r"evil\.tar\.gz"):
        measure_package_file(packed(tmp_path, [(member, b"no number\n" + bytes(600))]), max_bytes=1 << 20)
