# SPDX-License-Identifier: Apache-2.0
"""Writes and checks packages of any size in one pass and with flat memory: what the packaging job is made of."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Protocol

from edge_package.atomic import written_whole
from edge_package.errors import PackageError
from edge_package.manifest import MANIFEST_NAME, FileEntry, Manifest, check_path
from edge_package.stored_gzip import StoredGzipWriter

_CHUNK = 1 << 20
_LONGEST_MANIFEST = 16 << 20


class Readable(Protocol):
    """What a package is read from."""

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, or all."""


class Writable(Protocol):
    """What a package is written to."""

    def write(self, data: bytes) -> Any:
        """Take all of `data`."""


class PackageWriter:
    """Writes the flat package archive (tar.gz), file by file.

    The same files give the same bytes: fixed order, owner, mode and time, and no compression.

    Args:
        target: takes the archive; it is not closed.
        model_name: name of the model.
        model_version: its version.
    """

    def __init__(self, target: Writable, *, model_name: str, model_version: str) -> None:
        self._stream = StoredGzipWriter(target)
        self._name = model_name
        self._version = model_version
        self._entries: list[FileEntry] = []
        self._size = 0

    def add(self, path: str, size: int, source: IO[bytes]) -> FileEntry:
        """Append a file, and describe what passed.

        Args:
            path: its place in the package; each must come after the one before, in order of code points.
            size: in bytes; known beforehand, as it stands in front of the content.
            source: its content.

        Raises:
            PackageError: the path breaks the rules or the order, or the source is shorter or longer than `size`.
        """
        check_path(path)
        if self._entries and path <= self._entries[-1].path:
            raise PackageError(f"package path {path!r} comes after {self._entries[-1].path!r}: files come in order")
        self._write_header(path, size)
        digest, left = hashlib.sha256(), size
        while chunk := source.read(min(_CHUNK, left + 1)):
            left -= len(chunk)
            if left < 0:
                break
            digest.update(chunk)
            self._write(chunk)
        if left:
            found = "more" if left < 0 else str(size - left)
            raise PackageError(f"{path!r}: {size} bytes are expected, got {found}: it changed while it was packaged")
        self._pad()
        entry = FileEntry(path=path, size=size, sha256=digest.hexdigest())
        self._entries.append(entry)
        return entry

    def finish(self) -> Manifest:
        """Append the manifest and end the archive.

        The manifest is last: whoever unpacks only a part of the archive is left without one, and so without a package.

        Raises:
            PackageError: name or version break the manifest's rules, or there is no file.
        """
        manifest = Manifest(model_name=self._name, model_version=self._version, files=tuple(self._entries))
        canonical = manifest.canonical()
        self._write_header(MANIFEST_NAME, len(canonical))
        self._write(canonical)
        self._pad()
        end = self._size + 2 * tarfile.BLOCKSIZE
        self._write(bytes(2 * tarfile.BLOCKSIZE + -end % tarfile.RECORDSIZE))
        self._stream.finish()
        return manifest

    def _write_header(self, path: str, size: int) -> None:
        member = tarfile.TarInfo(path)
        member.size = size
        member.mode = 0o644
        try:
            self._write(member.tobuf(tarfile.USTAR_FORMAT, "utf-8"))
        except ValueError as error:  # longer than the format can say
            raise PackageError(f"package path {path!r} of {size} bytes does not fit into an archive: {error}") from None

    def _write(self, data: bytes) -> None:
        self._stream.write(data)
        self._size += len(data)

    def _pad(self) -> None:
        self._write(bytes(-self._size % tarfile.BLOCKSIZE))


def build_package(*, model_name: str, model_version: str, files: Mapping[str, Path], target: Path) -> Manifest:
    """Write the package of files on this machine.

    Args:
        model_name: name of the model.
        model_version: its version.
        files: where each path of the package lies.
        target: the package file; it appears whole or not at all.

    Raises:
        PackageError: a name breaks the rules, or a file changed while it was read.
    """
    with written_whole(target) as stream:
        writer = PackageWriter(stream, model_name=model_name, model_version=model_version)
        for path in sorted(files):
            with files[path].open("rb") as source:
                writer.add(path, files[path].stat().st_size, source)
        return writer.finish()


def check_package_stream(stream: Readable, *, source: str) -> Manifest:
    """Read a package archive through, hold every file against the manifest at its end, and return the manifest.

    Args:
        stream: the archive; `read` is all that it needs.
        source: its name, for messages.

    Raises:
        PackageError: it is no package, or a file is missing, extra or has other bytes.
    """
    found: dict[str, tuple[int, str]] = {}
    manifest = b""
    try:
        unzipped = gzip.GzipFile(fileobj=stream, mode="rb")  # type: ignore[call-overload] # it only reads
        with tarfile.open(fileobj=unzipped, mode="r|") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isreg() else None
                if content is None or member.name in found or manifest:
                    raise PackageError(f"{source}: {member.name!r}: plain files are expected, each once, manifest last")
                if member.name == MANIFEST_NAME:
                    manifest = content.read(_LONGEST_MANIFEST)
                else:
                    found[member.name] = member.size, _sha256(content)
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise PackageError(f"{source}: a whole .tar.gz package is expected: {error}") from None
    if not manifest:
        raise PackageError(f"{source}: no {MANIFEST_NAME} among {sorted(found)[:8]}: this is not a model package")
    parsed = Manifest.parse(manifest)
    listed = {entry.path: (entry.size, entry.sha256) for entry in parsed.files}
    if wrong := sorted(path for path in listed.keys() | found.keys() if listed.get(path) != found.get(path)):
        raise PackageError(f"{source}: {', '.join(wrong)[:200]}: not as the manifest says: the package was changed")
    return parsed


def _sha256(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
