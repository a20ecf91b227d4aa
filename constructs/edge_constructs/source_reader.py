# SPDX-License-Identifier: Apache-2.0
"""Where a packaging job takes a model from: a folder, a zip, a tar.gz or a single file in S3, with flat memory.

Nothing is held whole in memory: folders and single files are streamed, a zip is read where its files lie, and only a
tar.gz, which cannot be read out of order, passes through the scratch disk. Standard library and botocore only.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import posixpath
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edge_constructs.handler_kernel import Deadline, ResourceError
from edge_constructs.s3_objects import S3, ObjectReader, parse_uri
from edge_package.manifest import check_path

# Greengrass takes artifacts of up to 2 GB in all for a component.
MOST_BYTES = 2_000_000_000
_MOST_FILES = 10_000
_BUFFER = 1 << 20


@dataclass(frozen=True)
class SourceFile:
    """A file of the model: its size in bytes, and how it is opened."""

    size: int
    open: Callable[[], contextlib.AbstractContextManager[IO[bytes]]]


@contextlib.contextmanager
def open_source(s3: S3, uri: str, *, scratch: Path, deadline: Deadline) -> Iterator[Mapping[str, SourceFile]]:
    """The files of a model source by their path in the package.

    Args:
        s3: where it lies.
        uri: `s3://bucket/prefix/` is a folder, `….zip` and `….tar.gz` (`….tgz`) are archives, all else is one file.
        scratch: a folder on a disk with room for the content of a tar.gz.
        deadline: of the unpacking of a tar.gz.

    Raises:
        ResourceError: there is nothing, it is damaged, holds more than Greengrass takes, or a link.
        PackageError: a path in it could leave the package.
    """
    bucket, key = parse_uri(uri)
    try:
        if key.endswith("/") or not key:
            yield _bounded(uri, _folder(s3, bucket, key))
        elif key.endswith(".zip"):
            with zipfile.ZipFile(_reader(s3, bucket, key)) as archive:
                yield _bounded(uri, _zip(archive, uri))
        elif key.endswith((".tar.gz", ".tgz")):
            yield _tar(_reader(s3, bucket, key), uri, scratch, deadline)
        else:
            size = ObjectReader(s3, bucket, key).size
            yield _bounded(uri, {posixpath.basename(key): SourceFile(size, lambda: _reader(s3, bucket, key))})
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError, RuntimeError) as error:
        # RuntimeError: a zip with a password.
        raise ResourceError(f"{uri}: cannot be packaged: {error}") from error


def _reader(s3: S3, bucket: str, key: str) -> io.BufferedReader:
    return io.BufferedReader(ObjectReader(s3, bucket, key), _BUFFER)


def _folder(s3: S3, bucket: str, prefix: str) -> dict[str, SourceFile]:
    files: dict[str, SourceFile] = {}
    more: dict[str, str] = {}
    while True:
        page = s3.list_objects_v2(Bucket=bucket, Prefix=prefix, **more)
        for item in page.get("Contents", ()):
            key = item["Key"]
            if not key.endswith("/"):  # what consoles leave for an empty folder
                files[key.removeprefix(prefix)] = SourceFile(item["Size"], _opener(s3, bucket, key))
        if not page.get("IsTruncated") or len(files) > _MOST_FILES:
            return files
        more = {"ContinuationToken": page["NextContinuationToken"]}


def _opener(s3: S3, bucket: str, key: str) -> Callable[[], io.BufferedReader]:
    return lambda: _reader(s3, bucket, key)


def _zip(archive: zipfile.ZipFile, uri: str) -> dict[str, SourceFile]:
    files: dict[str, SourceFile] = {}
    for member in archive.infolist():
        if stat.S_ISLNK(member.external_attr >> 16):  # its content is a path, which would pass for a file's
            raise ResourceError(
                f"{uri}: {member.filename!r}: plain files are expected, this is a link; store its target"
            )
        if member.is_dir():
            continue
        if member.filename in files:
            raise ResourceError(f"{uri}: {member.filename!r} is in it twice; once is expected")
        files[member.filename] = SourceFile(member.file_size, _member_opener(archive, member))
    return files


def _member_opener(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    return lambda: archive.open(member)


def _tar(stream: IO[bytes], uri: str, scratch: Path, deadline: Deadline) -> dict[str, SourceFile]:
    files: dict[str, SourceFile] = {}
    total = 0
    unzipped = gzip.GzipFile(fileobj=stream, mode="rb")
    with tarfile.open(fileobj=unzipped, mode="r|") as archive:
        for count, member in enumerate(archive, start=1):
            archive.members.clear()  # type: ignore[attr-defined] # tarfile would keep each, though none is asked for again
            deadline.check(f"unpacking {uri}")
            _check_bounds(uri, total, count)  # folders too: they cost time
            name = member.name.removeprefix("./")
            if member.isdir():
                continue
            content = archive.extractfile(member) if member.isreg() else None
            if content is None or name in files:
                raise ResourceError(f"{uri}: {member.name!r}: plain files are expected, each once; this is none")
            # Numbered, not named: a name of the archive never becomes a path here.
            path = scratch / str(len(files))
            files[name] = SourceFile(member.size, _path_opener(path))
            total += member.size
            _check_bounds(uri, total, count)  # before any of it is on the disk
            with path.open("wb") as target:
                while chunk := content.read(_BUFFER):
                    deadline.check(f"unpacking {uri}")
                    target.write(chunk)
    while unzipped.read(_BUFFER):  # what follows the archive's end; its checksum is checked there
        deadline.check(f"unpacking {uri}")
    return _bounded(uri, files)


def _path_opener(path: Path) -> Callable[[], IO[bytes]]:
    return lambda: path.open("rb")


def _bounded(uri: str, files: dict[str, SourceFile]) -> dict[str, SourceFile]:
    for path in files:
        check_path(path)
    if not files:
        raise ResourceError(f"{uri}: files of a model are expected, there is none")
    _check_bounds(uri, sum(file.size for file in files.values()), len(files))
    return files


def _check_bounds(uri: str, size: int, count: int) -> None:
    if size > MOST_BYTES or count > _MOST_FILES:
        raise ResourceError(
            f"{uri}: at most {MOST_BYTES} bytes in {_MOST_FILES} files are expected (Greengrass's limit for a "
            f"component; a tar's folders count), got {size} bytes in {count} files"
        )
