# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from edge_package.atomic import written_whole


def test_a_file_has_its_bytes_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[bytes, bool]] = []
    target = tmp_path / "package"

    def fsync(descriptor: int) -> None:
        synced.append((Path(f"/proc/self/fd/{descriptor}").read_bytes(), target.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    with written_whole(target) as stream:
        stream.write(b"all of it")
    assert synced == [(b"all of it", False)]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"package": b"all of it"}


def test_what_fails_leaves_the_former_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "package"
    target.write_bytes(b"former")
    with contextlib.suppress(ZeroDivisionError), written_whole(target) as stream:
        stream.write(b"half")
        raise ZeroDivisionError
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"package": b"former"}
