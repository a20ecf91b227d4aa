# SPDX-License-Identifier: Apache-2.0
import hashlib
import os
import time
import zipfile
from pathlib import Path

import pytest

from edge_package.archive import FileContent, read_tree, tree_digest, write_zip
from edge_package.errors import PackageError


def test_a_zip_depends_on_paths_modes_and_bytes_alone(tmp_path: Path) -> None:
    for name, pause in (("one", 0), ("two", 86_400)):
        root = tmp_path / name
        (root / "package").mkdir(parents=True)
        (root / "package" / "run.sh").write_bytes(b"#!/bin/sh\n")
        (root / "package" / "run.sh").chmod(0o700)
        (root / "data").write_bytes(b"x" * 5000)
        (root / "package" / "__pycache__").mkdir()
        (root / "package" / "__pycache__" / "a.pyc").write_bytes(os.urandom(8))
        os.utime(root / "data", (time.time() - pause,) * 2)
    trees = [read_tree(tmp_path / name, exclude=["__pycache__"]) for name in ("one", "two")]
    digests = [write_zip(tree, tmp_path / f"{index}.zip") for index, tree in enumerate(trees)]
    assert digests[0] == digests[1] == hashlib.sha256((tmp_path / "0.zip").read_bytes()).hexdigest()
    with zipfile.ZipFile(tmp_path / "0.zip") as archive:
        assert archive.namelist() == ["data", "package/run.sh"]
        assert archive.getinfo("package/run.sh").external_attr >> 16 == 0o100755
        assert archive.read("data") == b"x" * 5000


def test_the_tree_digest_sees_path_mode_and_bytes() -> None:
    digests = {
        tree_digest(files)
        for files in (
            {"a": FileContent(b"1")},
            {"b": FileContent(b"1")},
            {"a": FileContent(b"2")},
            {"a": FileContent(b"1", executable=True)},
            {"a": FileContent(b"1"), "b": FileContent(b"")},
        )
    }
    assert len(digests) == 5
    assert tree_digest({"a": FileContent(b"1"), "b": FileContent(b"")}) in digests


def test_a_link_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    with pytest.raises(PackageError, match="link"):
        read_tree(tmp_path)
    with pytest.raises(PackageError, match="nowhere"):
        read_tree(tmp_path / "nowhere")


def test_a_path_that_leaves_the_zip_is_refused_and_nothing_stays(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="relative path"):
        write_zip({"../x": FileContent(b"")}, tmp_path / "a.zip")
    assert list(tmp_path.iterdir()) == []
