# SPDX-License-Identifier: Apache-2.0
"""The manifest of a model package: which files it holds, with their digests.

SageMaker Edge Manager wrote a file `sagemaker_edge_manifest` into each package, of which only the object `metadata`
with `model_name` and `model_version` is known. Ours keeps that and adds the list of files. The file holds the
canonical form, byte for byte, so that its SHA-256 names the package everywhere: at synth, in the packaging job, in
the recipe, at load and in reports.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from edge_package.errors import PackageError

MANIFEST_NAME = "sagemaker_edge_manifest"
SCHEMA_VERSION = "1"

# CreateEdgePackagingJob's own rules for ModelName (EntityName) and ModelVersion, from botocore's service model.
_MODEL_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_MODEL_VERSION = re.compile(r"[a-zA-Z0-9 _.]{1,30}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# The manifest, and the signature that the model component puts beside it.
_RESERVED = (MANIFEST_NAME, f"{MANIFEST_NAME}.sig")


@dataclass(frozen=True)
class FileEntry:
    """One file of a package: POSIX path relative to the package's root, size in bytes, SHA-256 in lower-case hex."""

    path: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        check_path(self.path)
        if type(self.size) is not int or self.size < 0:
            raise PackageError(f"manifest entry {self.path!r}: size must be a whole number of bytes, got {self.size!r}")
        if not isinstance(self.sha256, str) or not _SHA256.fullmatch(self.sha256):
            raise PackageError(
                f"manifest entry {self.path!r}: sha256 must be 64 lower-case hex digits, got {self.sha256!r}"
            )


@dataclass(frozen=True)
class Manifest:
    """What a package is: name and version of the model, and its files in order of their paths.

    Raises:
        PackageError: a name, version or path breaks the rules, or two entries claim one path.
    """

    model_name: str
    model_version: str
    files: tuple[FileEntry, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.model_name, str) or not _MODEL_NAME.fullmatch(self.model_name):
            raise PackageError(
                "model name must be 1 to 63 letters and digits, with dashes only between them, "
                f"as CreateEdgePackagingJob's ModelName; got {self.model_name!r}"
            )
        if not isinstance(self.model_version, str) or not _MODEL_VERSION.fullmatch(self.model_version):
            raise PackageError(
                "model version must be 1 to 30 letters, digits, spaces, underscores or dots (no dash), "
                f"as CreateEdgePackagingJob's ModelVersion; got {self.model_version!r}"
            )
        if not self.files:
            raise PackageError(f"package {self.model_name!r}: at least one file is expected, got none")
        object.__setattr__(self, "files", tuple(sorted(self.files, key=lambda entry: entry.path)))
        seen: dict[str, str] = {}
        for entry in self.files:
            # Some devices' file systems fold case: two such files would become one there.
            other = seen.setdefault(entry.path.casefold(), entry.path)
            if other is not entry.path:
                raise PackageError(f"package {self.model_name!r}: {other!r} and {entry.path!r} name the same file")

    def canonical(self) -> bytes:
        """The one byte form: JSON with sorted keys, no white space, ASCII only."""
        document = {
            "files": [{"path": e.path, "sha256": e.sha256, "size": e.size} for e in self.files],
            "metadata": {"model_name": self.model_name, "model_version": self.model_version},
            "schema_version": SCHEMA_VERSION,
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical form, lower-case hex: the model digest."""
        return hashlib.sha256(self.canonical()).hexdigest()

    @classmethod
    def parse(cls, content: bytes) -> Manifest:
        """Read a manifest file.

        Raises:
            PackageError: the content is not JSON, has other keys, or is not in the canonical form: its digest would
                then not be the digest of what it says.
        """
        try:
            document = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise PackageError(f"{MANIFEST_NAME}: expected JSON, got {content[:40]!r}: {error}") from error
        if isinstance(document, dict) and "metadata" in document and "schema_version" not in document:
            raise PackageError(
                f"{MANIFEST_NAME}: expected a list of the files with their digests, got the manifest of SageMaker's "
                "own packaging job, or of another tool: nothing of the package could be verified; put its files into "
                "a model folder and package that (edge-model package)"
            )
        _check_keys(document, {"files", "metadata", "schema_version"}, where=MANIFEST_NAME)
        if document["schema_version"] != SCHEMA_VERSION:
            raise PackageError(
                f"{MANIFEST_NAME}: schema_version {SCHEMA_VERSION!r} is understood here, got "
                f"{document['schema_version']!r}: update the agent or package the model again"
            )
        _check_keys(document["metadata"], {"model_name", "model_version"}, where=f"{MANIFEST_NAME}: metadata")
        if not isinstance(document["files"], list):
            raise PackageError(f"{MANIFEST_NAME}: files must be a list, got {type(document['files']).__name__}")
        entries = []
        for index, item in enumerate(document["files"]):
            _check_keys(item, {"path", "sha256", "size"}, where=f"{MANIFEST_NAME}: files[{index}]")
            entries.append(FileEntry(**item))
        manifest = cls(files=tuple(entries), **document["metadata"])
        if manifest.canonical() != content:
            raise PackageError(
                f"{MANIFEST_NAME}: not in canonical form (sorted keys and paths, no white space): it was edited or "
                "made by another tool; package the model again"
            )
        return manifest


def check_path(path: str) -> None:
    """Refuse a path that a package cannot hold.

    Beside what `check_relative` refuses, these are names with a leading dot, which the shell's `*` of the installation
    would leave behind, and those of the manifest and its signature.

    Raises:
        PackageError: the path is not a relative POSIX path of ordinary names.
    """
    check_relative(path)
    if any(part.startswith(".") for part in path.split("/")):
        raise PackageError(
            f"package path {path!r}: names without a leading dot are expected, as an installation leaves hidden files "
            "behind: rename that file or folder"
        )
    if path.casefold() in _RESERVED:
        raise PackageError(f"package path {path!r} is the manifest's own name, or its signature's: rename that file")


def check_relative(path: str) -> None:
    """Refuse a path that could leave its directory or mean different files on different systems.

    Raises:
        PackageError: the path is not a relative POSIX path.
    """
    if not isinstance(path, str):
        raise PackageError(f"a package path must be a string, got {path!r}")
    parts = path.split("/")
    if any(part in {"", ".", ".."} for part in parts) or "\\" in path or not path.isprintable() or ":" in path:
        raise PackageError(
            f"package path {path!r}: a relative path is expected, without '..', empty parts, backslashes, colons or "
            "control characters"
        )


def _check_keys(value: Any, expected: set[str], *, where: str) -> None:
    if not isinstance(value, dict):
        raise PackageError(f"{where}: expected an object, got {type(value).__name__}")
    if set(value) != expected:
        raise PackageError(f"{where}: expected the keys {sorted(expected)}, got {sorted(map(str, value))}")
