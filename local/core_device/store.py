# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import hashlib
import os
import shutil
import stat
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from local.core_device.files import sync_directory, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from edge_recipe import Artifact

_CHUNK = 1 << 20
_MAX_UNPACKED_BYTES = 4 << 30


class ArtifactError(Exception):
    """An artifact that must not be installed."""


class PackageStore:
    """Recipes and artifacts of the component versions on this device, under ``<root>/packages``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def artifacts(self, name: str, version: str) -> Path:
        """The folder of a component version's artifacts."""
        return self._directory / "artifacts" / name / version

    def unarchived(self, name: str, version: str) -> Path:
        """The folder of its unpacked artifacts."""
        return self._directory / "artifacts-unarchived" / name / version

    def save_recipe(self, name: str, version: str, recipe: bytes) -> None:
        """Keep a recipe for a start without the cloud."""
        write_atomically(self._recipe(name, version), recipe)

    def load_recipe(self, name: str, version: str) -> bytes:
        """Give a kept recipe.

        Raises:
            FileNotFoundError: there is none.
        """
        return self._recipe(name, version).read_bytes()

    def fetch(
        self, name: str, version: str, artifacts: Iterable[Artifact], download: Callable[[str, BinaryIO], None]
    ) -> None:
        """Download, check and unpack what is not on the device yet.

        Raises:
            ArtifactError: the digest is missing or wrong, or the archive is unsafe or broken.
        """
        for artifact in artifacts:
            path = self.artifacts(name, version) / artifact.file_name
            if artifact.digest is None:
                raise ArtifactError(
                    f"component {name} {version}: the recipe gives no digest for {artifact.uri}; a recipe of the cloud "
                    "always does"
                )
            fresh = not path.is_file() or _digest(path) != artifact.digest
            if fresh:
                _download(path, artifact, download, f"component {name} {version}")
            if artifact.unarchive == "ZIP":
                target = self.unarchived(name, version) / path.stem
                if fresh or not target.is_dir():
                    _unzip(path, target, artifact)

    def keep_only(self, versions: Collection[tuple[str, str]]) -> None:
        """Remove the recipes and artifacts of all other component versions."""
        for kind in ("artifacts", "artifacts-unarchived"):
            for path in sorted((self._directory / kind).glob("*/*")):
                if (path.parent.name, path.name) not in versions:
                    shutil.rmtree(path)
            for path in sorted((self._directory / kind).glob("*")):
                if not any(path.iterdir()):
                    path.rmdir()
        kept = {self._recipe(name, version) for name, version in versions}
        for path in sorted((self._directory / "recipes").glob("*.json")):
            if path not in kept:
                path.unlink()

    def _recipe(self, name: str, version: str) -> Path:
        return self._directory / "recipes" / f"{name}-{version}.json"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return base64.b64encode(hashlib.file_digest(file, "sha256").digest()).decode()


def _mode(artifact: Artifact) -> int:
    mode = {"NONE": 0o200, "OWNER": 0o600, "ALL": 0o644}[artifact.read]
    return mode | {"NONE": 0, "OWNER": 0o100, "ALL": 0o111}[artifact.execute]


def _download(path: Path, artifact: Artifact, download: Callable[[str, BinaryIO], None], owner: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            download(artifact.uri, file)
            file.flush()
            os.fsync(file.fileno())
        _check_digest(Path(temporary), artifact, owner)
        Path(temporary).chmod(_mode(artifact))
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def _check_digest(path: Path, artifact: Artifact, owner: str) -> None:
    found = _digest(path)
    if found != artifact.digest:
        raise ArtifactError(
            f"{owner}: {artifact.uri} has SHA-256 {found}, the recipe says {artifact.digest}; the object changed "
            "after the version was created: publish the content under a new version"
        )


def _unzip(archive: Path, target: Path, artifact: Artifact) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        with zipfile.ZipFile(archive) as file:
            entries = file.infolist()
            _check_entries(entries, artifact.uri)
            for entry in entries:
                _extract(file, entry, temporary, _mode(artifact))
        temporary.chmod(0o755)
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)
    except (zipfile.BadZipFile, EOFError) as error:
        raise ArtifactError(f"{artifact.uri} is no ZIP archive: {error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sync_directory(target.parent)


def _check_entries(entries: Iterable[zipfile.ZipInfo], uri: str) -> None:
    size = 0
    for entry in entries:
        parts = PurePosixPath(entry.filename).parts
        if not parts or entry.filename.startswith("/") or ".." in parts or "\\" in entry.filename:
            raise ArtifactError(f"{uri} holds {entry.filename!r}, which would lie outside of its folder")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise ArtifactError(f"{uri} holds the link {entry.filename!r}; archives hold files only")
        size += entry.file_size
    if size > _MAX_UNPACKED_BYTES:
        raise ArtifactError(f"{uri} unpacks to {size} bytes, at most {_MAX_UNPACKED_BYTES} are taken")


def _extract(file: zipfile.ZipFile, entry: zipfile.ZipInfo, directory: Path, mode: int) -> None:
    path = directory.joinpath(*PurePosixPath(entry.filename).parts)
    if entry.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with file.open(entry) as source, path.open("xb") as destination:
        shutil.copyfileobj(source, destination, _CHUNK)
    path.chmod(mode)
