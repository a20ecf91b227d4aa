# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or not there: written together, synced before they have their names, never left half."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from edge_agent.files import Group, make_directory, write_whole


def test_no_file_has_its_name_before_it_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    real_sync, real_replace, real_fsync = os.fdatasync, Path.replace, os.fsync

    def fdatasync(descriptor: int) -> None:
        events.append("data")
        real_sync(descriptor)

    def replace(path: Path, target: Path) -> Path:
        events.append("name")
        return real_replace(path, target)

    def fsync(descriptor: int) -> None:
        events.append("directory")
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    with Group() as group:
        for number in range(3):
            group.write(tmp_path / f"{number}", b"x")
    assert events == ["data"] * 3 + ["name"] * 3 + ["directory"]


def test_more_files_than_descriptors_are_written(tmp_path: Path) -> None:
    with Group() as group:
        for number in range(200):
            group.write(tmp_path / f"{number}", b"%d" % number)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        f"{number}": b"%d" % number for number in range(200)
    }


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_failing_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fdatasync", fail)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match=os.strerror(code)), Group() as group:
        group.write(tmp_path / "a", b"x")
    assert list(tmp_path.iterdir()) == []
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_file_that_does_not_get_its_name_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_path: Path, _target: Path) -> Path:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    (tmp_path / "a").write_bytes(b"former")
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        write_whole(tmp_path / "a", b"x")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"former"}


def test_a_directory_is_synced_into_its_parent_and_that_into_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(Path(f"/proc/self/fd/{descriptor}").readlink()))
    make_directory(tmp_path / "a/b")
    assert synced == [tmp_path, tmp_path / "a"]
    make_directory(tmp_path / "a/b")  # is there
    assert synced == [tmp_path, tmp_path / "a"]
