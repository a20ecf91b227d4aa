# SPDX-License-Identifier: Apache-2.0
"""Component artifacts: zips whose bytes depend on nothing but paths, modes and contents."""

from __future__ import annotations

import fnmatch
import hashlib
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_package.atomic import written_whole
from edge_package.errors import PackageError
from edge_package.manifest import check_relative

_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can hold
_UNIX = 3


@dataclass(frozen=True)
class FileContent:
    """A file's bytes and whether it may be executed."""

    data: bytes
    executable: bool = False

    @property
    def mode(self) -> int:
        """Permission bits: 0755 or 0644, whatever the umask of the machine was."""
        return 0o755 if self.executable else 0o644


def read_tree(root: Path, *, exclude: Iterable[str] = ()) -> dict[str, FileContent]:
    """Every plain file below `root` by its relative POSIX path, in order.

    Args:
        root: the directory.
        exclude: `fnmatch` patterns; a file is left out when its relative path or one of its path's parts matches.

    Raises:
        PackageError: `root` is no directory, or holds a link.
    """
    if not root.is_dir():
        raise PackageError(f"{root}: a directory is expected, there is none")
    patterns = tuple(exclude)
    files = {}
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if any(
            fnmatch.fnmatch(name, pattern) for name in (*relative.parts, relative.as_posix()) for pattern in patterns
        ):
            continue
        if path.is_symlink():
            raise PackageError(f"{path}: links cannot be archived; put the file itself there")
        if path.is_file():
            files[relative.as_posix()] = FileContent(path.read_bytes(), executable=bool(path.stat().st_mode & 0o100))
    return files


def tree_digest(files: Mapping[str, FileContent]) -> str:
    """SHA-256, lower-case hex, over path, mode and bytes of every file, in order of the paths."""
    digest = hashlib.sha256()
    for path in sorted(files):
        content = files[path]
        digest.update(f"{path}\0{content.mode:o}\0{hashlib.sha256(content.data).hexdigest()}\n".encode())
    return digest.hexdigest()


def write_zip(files: Mapping[str, FileContent], target: Path) -> str:
    """Write a zip of `files` whole or not at all, and return its SHA-256 in lower-case hex.

    Stored, not deflated: deflate's output differs between zlib versions, and the digest must not.

    Raises:
        PackageError: a path is not a relative POSIX path.
    """
    with written_whole(target) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(files):
            check_relative(path)
            member = zipfile.ZipInfo(path, _DATE)
            member.create_system = _UNIX
            member.external_attr = (0o100000 | files[path].mode) << 16
            archive.writestr(member, files[path].data)
    return hashlib.sha256(target.read_bytes()).hexdigest()
