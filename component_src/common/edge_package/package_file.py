# SPDX-License-Identifier: Apache-2.0
"""Reads a package file, as the packaging job writes it, into memory: nothing of it ever becomes a path."""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
import zlib
from pathlib import Path
from typing import IO

from edge_package.errors import PackageError
from edge_package.manifest import MANIFEST_NAME, check_path
from edge_package.package import Package, verified

_MOST_FILES = 10_000


def read_package_file(path: Path, *, max_bytes: int) -> Package:
    """Read a `.tar.gz` package, each file once, and hold it against its manifest.

    Args:
        path: the package file.
        max_bytes: how many bytes it may unpack to, headers and padding included.

    Raises:
        FileNotFoundError: there is no such file.
        PackageError: it is no package file, unpacks to more than it may, holds a link or a path that leaves it, or a
            file is missing, extra or has other bytes; it is named.
    """
    with _open_plain(path) as stream:
        try:
            found = _members(_Bounded(gzip.GzipFile(fileobj=stream, mode="rb"), path, max_bytes), path)
        except (tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile) as error:
            raise PackageError(f"{path}: expected a whole .tar.gz package: {error}") from None
    if MANIFEST_NAME not in found:
        raise PackageError(
            f"{path}: no {MANIFEST_NAME} among {sorted(found)[:8]}: this is not a model package; "
            "package the model with an edge packaging job"
        )
    return verified(str(path), found.pop(MANIFEST_NAME), set(found), found.__getitem__)


def _open_plain(path: Path) -> IO[bytes]:
    # Without O_NONBLOCK a named pipe would hold the caller for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise PackageError(f"{path}: expected a plain file, got a device, pipe or socket")
    return os.fdopen(descriptor, "rb")


def _members(stream: _Bounded, path: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=stream, mode="r|") as archive:  # type: ignore[call-overload] # it only reads
        for count, member in enumerate(archive, start=1):
            name = member.name.removeprefix("./")
            if count > _MOST_FILES:
                raise PackageError(f"{path}: expected at most {_MOST_FILES} files, got more")
            if member.isdir():
                continue
            if name != MANIFEST_NAME:
                check_path(name)
            if member.type not in {tarfile.REGTYPE, tarfile.AREGTYPE} or member.issparse():
                raise PackageError(
                    f"{path}: {name}: only plain files and folders are allowed in a package, this is a link or device"
                )
            if name in found:
                raise PackageError(f"{path}: {name}: expected it once, got it again")
            content = archive.extractfile(member)
            found[name] = content.read() if content else b""
    return found


class _Bounded:
    """Reads no more of a stream than so many bytes, however small it was packed."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile, path: Path, limit: int) -> None:
        self._stream = stream
        self._path = path
        self._limit = limit
        self._left = limit

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise PackageError(f"{self._path}: expected at most {self._limit} bytes when unpacked, got more")
        return data
