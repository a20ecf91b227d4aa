# SPDX-License-Identifier: Apache-2.0
"""Model packages: built by the packaging job, unpacked by the model component, read and verified by the agent."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Callable, Union

from edge_package.errors import PackageError
from edge_package.manifest import MANIFEST_NAME, FileEntry, Manifest, check_path
from edge_package.signature import SIGNATURE_NAME

Source = Union[bytes, Callable[[], IO[bytes]]]
"""A file's content: bytes, or a function that opens it anew (it is read twice: for the digest and for the archive)."""

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Package:
    """A verified package. `contents` maps each path of the manifest to exactly the bytes that were hashed."""

    manifest: Manifest
    contents: Mapping[str, bytes]


def make_manifest(*, model_name: str, model_version: str, files: Mapping[str, Source]) -> Manifest:
    """Hash every file and describe them.

    Raises:
        PackageError: a name, version or path breaks the manifest's rules.
    """
    for path in files:
        check_path(path)
    entries = tuple(_describe(path, source) for path, source in files.items())
    return Manifest(model_name=model_name, model_version=model_version, files=entries)


def write_directory(*, model_name: str, model_version: str, files: Mapping[str, Source], target: Path) -> Manifest:
    """Write an unpacked package into the directory `target`, as a model component leaves it on a device."""
    manifest = make_manifest(model_name=model_name, model_version=model_version, files=files)
    for entry in manifest.files:
        path = target / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with _open(files[entry.path]) as source:
            path.write_bytes(source.read())
    (target / MANIFEST_NAME).write_bytes(manifest.canonical())
    return manifest


def read_package(directory: Path) -> Package:
    """Read an unpacked package, each file once, and hold it against its manifest.

    Raises:
        FileNotFoundError: there is no such directory.
        PackageError: no manifest, or a file is missing, extra, a link, or has other bytes; it is named.
    """
    if not directory.is_dir():
        raise FileNotFoundError(f"{directory}: a directory with an unpacked model package is expected, there is none")
    found = _list_files(directory)
    if MANIFEST_NAME not in found:
        raise PackageError(
            f"{directory}: no {MANIFEST_NAME} among {sorted(found)[:8]}: this is not an unpacked model package; "
            "package the model with an edge packaging job"
        )
    found -= {MANIFEST_NAME, SIGNATURE_NAME}
    manifest = _read(directory / MANIFEST_NAME)
    return verified(str(directory), manifest, found, lambda path: _read(directory / path))


def verified(where: str, manifest: bytes, found: set[str], read: Callable[[str], bytes]) -> Package:
    """Hold what was found against a manifest.

    Args:
        where: the package, for messages.
        manifest: the manifest file's content.
        found: the paths of all other files.
        read: gives the content of one; called once for each file that the manifest lists.

    Raises:
        PackageError: a file is missing, extra, or has other bytes; it is named.
    """
    parsed = Manifest.parse(manifest)
    listed = {entry.path for entry in parsed.files}
    if missing := sorted(listed - found):
        raise PackageError(
            f"{where}: {', '.join(missing)}: listed in the manifest but missing; deploy the package again"
        )
    if extra := sorted(found - listed):
        raise PackageError(
            f"{where}: {', '.join(extra)}: not listed in the manifest; remove what is not of the package"
        )
    return Package(manifest=parsed, contents={entry.path: _checked(where, entry, read) for entry in parsed.files})


def _checked(where: str, entry: FileEntry, read: Callable[[str], bytes]) -> bytes:
    content = read(entry.path)
    digest = hashlib.sha256(content).hexdigest()
    if (len(content), digest) != (entry.size, entry.sha256):
        raise PackageError(
            f"{where}/{entry.path}: expected {entry.size} bytes with SHA-256 {entry.sha256}, found {len(content)} "
            f"bytes with {digest}: the file was changed or cut; deploy the package again"
        )
    return content


def _read(path: Path) -> bytes:
    # O_NOFOLLOW: a link put in place after the listing is not followed either.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read()


def _list_files(directory: Path) -> set[str]:
    found = set()
    for folder, folders, names in os.walk(directory):
        for name in [*folders, *names]:
            path = Path(folder, name)
            relative = path.relative_to(directory).as_posix()
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                found.add(relative)
            elif not stat.S_ISDIR(mode):
                raise PackageError(
                    f"{path}: only plain files and folders are allowed in a package, this is a link or device"
                )
    return found


def _open(source: Source) -> IO[bytes]:
    return io.BytesIO(source) if isinstance(source, bytes) else source()


def _describe(path: str, source: Source) -> FileEntry:
    digest, size = hashlib.sha256(), 0
    with _open(source) as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return FileEntry(path=path, size=size, sha256=digest.hexdigest())
