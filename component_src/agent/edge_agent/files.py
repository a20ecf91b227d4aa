# SPDX-License-Identifier: Apache-2.0
"""Files that are there whole or not at all, also after a power cut."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

#: What a file is called until it is whole; whoever finds one at the start may remove it.
PART_SUFFIX = ".part"
_CHUNK = 1 << 20
# Another file system, or one without a second name for a file.
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS, errno.EACCES}


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all after the process was killed; a power cut may still take it."""
    part = path.with_name(path.name + PART_SUFFIX)
    try:
        with part.open("wb") as stream:
            stream.write(content)
        part.replace(path)
    except BaseException:
        _remove(part)
        raise


def write_durably(path: Path, content: bytes) -> None:
    """Write a file that survives a power cut from the return of this function on, and is never seen half-written."""
    with Group() as group:
        group.write(path, content)


class Group:
    """Writes files that are durable all together when the block ends: the disk is waited for once, not for each.

    Each file is whole or not there at any moment. If the block ends in an error, files of it may be there or not.
    """

    _MOST_OPEN = 64

    def __init__(self) -> None:
        self._open: list[tuple[IO[bytes], Path, Path]] = []
        self._directories: set[Path] = set()

    def __enter__(self) -> Group:  # noqa: PYI034 # Self is not in the devices' oldest Python
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._sync()
                for directory in self._directories:
                    sync_directory(directory)
        finally:
            for stream, part, _ in self._open:
                stream.close()
                _remove(part)

    def write(self, path: Path, content: bytes) -> None:
        """Write one file."""
        part = path.with_name(path.name + PART_SUFFIX)
        stream = part.open("wb", buffering=0)
        self._open.append((stream, part, path))
        write_all(stream, content)
        self._opened(stream.fileno())

    def take(self, path: Path, source: Path) -> None:
        """Write one file with the bytes of another: it is a second name of it where the disk allows that."""
        part = path.with_name(path.name + PART_SUFFIX)
        _remove(part)
        try:
            os.link(source, part)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            self._copy(path, part, source)
            return
        stream = part.open("rb", buffering=0)
        self._open.append((stream, part, path))
        self._opened(stream.fileno())

    def _copy(self, path: Path, part: Path, source: Path) -> None:
        stream = part.open("wb", buffering=0)
        self._open.append((stream, part, path))
        with source.open("rb", buffering=0) as original:
            while chunk := original.read(_CHUNK):
                write_all(stream, chunk)
        self._opened(stream.fileno())

    def _opened(self, descriptor: int) -> None:
        # The disk begins now, with all files at the same time; to wait for them one after the other is shorter then.
        with contextlib.suppress(OSError):  # it is but advice
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        if len(self._open) >= self._MOST_OPEN:
            self._sync()

    def _sync(self) -> None:
        for stream, _, _ in self._open:
            os.fdatasync(stream.fileno())
        for stream, part, path in self._open:
            stream.close()
            part.replace(path)
            _remove(part)  # to rename one name of a file to another name of the same file does nothing
            self._directories.add(path.parent)
        self._open.clear()


def write_all(stream: IO[bytes], content: bytes) -> None:
    """Write all of it to an unbuffered file, which may take less at a time."""
    view = memoryview(content)
    while view:
        view = view[stream.write(view) :]


def sync_directory(directory: Path) -> None:
    """Make the names in a directory survive a crash."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path) -> None:
    """Make a directory and its parents, so that they survive a crash."""
    if directory.is_dir():
        return
    make_directory(directory.parent)
    directory.mkdir(exist_ok=True)
    sync_directory(directory.parent)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
