# SPDX-License-Identifier: Apache-2.0
"""Reads a package file, as the packaging job writes it, into memory: nothing of it ever becomes a path."""

from __future__ import annotations

import contextlib
import gzip
import os
import stat
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from edge_package.errors import PackageError
from edge_package.manifest import MANIFEST_NAME, check_path
from edge_package.package import Package, verified

_MOST_FILES = 10_000
_LONGEST_HEADERS = 1 << 16  # between two files' contents: headers, padding, and what tarfile reads ahead


def measure_package_file(path: Path, *, max_bytes: int) -> int:
    """Bytes of all files of a `.tar.gz` package together: what `read_package_file` will hold. It holds nothing itself.

    Each file's header tells its size before any of it is unpacked, so a bomb is refused at its header.

    Args:
        path: the package file.
        max_bytes: how many bytes its files may have together.

    Raises:
        FileNotFoundError: there is no such file.
        PackageError: it is no package file, its files have more bytes than they may, or one is a link or has a path
            that leaves the package; it is named.
    """
    with _opened(path, max_bytes) as members:
        return sum(member.size for _, member, _ in members)


def read_package_file(path: Path, *, max_bytes: int) -> Package:
    """Read a `.tar.gz` package, each file once, and hold it against its manifest.

    Args:
        path: the package file.
        max_bytes: how many bytes its files may have together.

    Raises:
        FileNotFoundError: there is no such file.
        PackageError: it is no package file, its files have more bytes than they may, one is a link or has a path that
            leaves the package, or a file is missing, extra or has other bytes; it is named.
    """
    found: dict[str, bytes] = {}
    with _opened(path, max_bytes) as members:
        for name, member, archive in members:
            content = archive.extractfile(member)
            found[name] = content.read() if content else b""
    if MANIFEST_NAME not in found:
        raise PackageError(
            f"{path}: no {MANIFEST_NAME} among {sorted(found)[:8]}: this is not a model package; "
            "package the model with an edge packaging job"
        )
    return verified(str(path), found.pop(MANIFEST_NAME), set(found), found.__getitem__)


_Member = tuple[str, tarfile.TarInfo, tarfile.TarFile]


@contextlib.contextmanager
def _opened(path: Path, max_bytes: int) -> Iterator[Iterator[_Member]]:
    with _open_plain(path) as stream:
        try:
            yield _members(_Bounded(gzip.GzipFile(fileobj=stream, mode="rb"), path), path, max_bytes)
        # The last two are how tarfile says that the numbers of an extended header are none.
        except (tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile, ValueError, OverflowError) as error:
            raise PackageError(f"{path}: expected a whole .tar.gz package: {error}") from None


def _open_plain(path: Path) -> IO[bytes]:
    # Without O_NONBLOCK a named pipe would hold the caller for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise PackageError(f"{path}: expected a plain file, got a device, pipe or socket")
    return os.fdopen(descriptor, "rb")


def _members(stream: _Bounded, path: Path, max_bytes: int) -> Iterator[_Member]:
    """Every plain file, after its header and before its content."""
    names: set[str] = set()
    total = 0
    with tarfile.open(fileobj=stream, mode="r|") as archive:  # type: ignore[call-overload] # it only reads
        for count, member in enumerate(archive, start=1):
            name = member.name.removeprefix("./")
            if count > _MOST_FILES:
                raise PackageError(f"{path}: expected at most {_MOST_FILES} files, got more")
            if member.isdir():
                stream.allow(0)
                continue
            if name != MANIFEST_NAME:
                check_path(name)
            if member.type not in {tarfile.REGTYPE, tarfile.AREGTYPE} or member.issparse():
                raise PackageError(
                    f"{path}: {name}: only plain files and folders are allowed in a package, this is a link or device"
                )
            if name in names:
                raise PackageError(f"{path}: {name}: expected it once, got it again")
            total += member.size
            if member.size < 0 or total > max_bytes:
                raise PackageError(
                    f"{path}: {name}: expected at most {max_bytes} bytes when unpacked, got at least {total}"
                )
            names.add(name)
            stream.allow(member.size)
            yield name, member, archive


class _Bounded:
    """Reads no more of a stream than the file that was announced and the next headers, however small it was packed."""

    def __init__(self, stream: gzip.GzipFile, path: Path) -> None:
        self._stream = stream
        self._path = path
        self._left = _LONGEST_HEADERS

    def allow(self, size: int) -> None:
        """Let a file of so many bytes pass, with the headers after it."""
        self._left = size + _LONGEST_HEADERS

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise PackageError(f"{self._path}: expected at most {_LONGEST_HEADERS} bytes of headers at once, got more")
        return data
