# SPDX-License-Identifier: Apache-2.0
"""Packages: made of a model folder, read back whole, held against their manifest and signature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_constructs.component_source import package_file
from edge_constructs.model_folder import ModelFolder
from edge_model.errors import ModelCommandError
from edge_model.signing import PublicKey, signed_by
from edge_package import (
    SIGNATURE_NAME,
    SIGNATURE_SUFFIX,
    Manifest,
    Package,
    Signature,
    read_package,
    read_package_file,
)
from edge_package.onnx_file import OnnxError, read_signature
from edge_package.package_stream import build_package

_LARGEST = 4 << 30  # a package has 2 GB at the most, which Greengrass allows an artifact


@dataclass(frozen=True)
class Read:
    """A package whose files are those of its manifest, and its signature if it has one."""

    package: Package
    signature: Signature | None

    def described(self) -> dict[str, Any]:
        """What `inspect` shows."""
        manifest = self.package.manifest
        return {
            "model_name": manifest.model_name,
            "model_version": manifest.model_version,
            "digest": manifest.digest,
            "files": [{"path": e.path, "size": e.size, "sha256": e.sha256} for e in manifest.files],
            "models": {path: _tensors(path, data) for path, data in self.package.contents.items() if _is_onnx(path)},
            "signature": None if self.signature is None else {"key_id": self.signature.key_id},
        }


def write(model: ModelFolder, directory: Path) -> tuple[Path, Manifest]:
    """Package a model folder: the bytes that the packaging job makes of it.

    Returns:
        The package file, named after model and version, and its manifest.

    Raises:
        ModelFolderError: the model's files lie in S3.
    """
    model.require_files()
    target = directory / package_file(model.name, model.version)
    files = {name: model.folder / name for name in model.files}
    return target, build_package(model_name=model.name, model_version=model.version, files=files, target=target)


def read(path: Path) -> Read:
    """Read a package file or an unpacked package, every file held against the manifest.

    Raises:
        PackageError: it is none, or a file is missing, extra or has other bytes.
    """
    if path.is_dir():
        package, beside = read_package(path), path / SIGNATURE_NAME
    else:
        package, beside = read_package_file(path, max_bytes=_LARGEST), path.with_name(path.name + SIGNATURE_SUFFIX)
    signature = Signature.parse(beside.read_bytes(), source=str(beside)) if beside.is_file() else None
    return Read(package=package, signature=signature)


def verify(found: Read, keys: Sequence[PublicKey], *, where: str) -> str | None:
    """Hold a package's signature against public keys.

    Returns:
        The name of the key that made it; None when there is neither key nor signature to hold against each other.

    Raises:
        ModelCommandError: there is no signature where keys are given, it is of another package, or of another key.
    """
    manifest = found.package.manifest
    if found.signature is not None and found.signature.manifest_sha256 != manifest.digest:
        raise ModelCommandError(
            f"{where}: expected a signature of the manifest {manifest.digest}, got one of "
            f"{found.signature.manifest_sha256!r:.100}, which is another package's; sign this one"
        )
    if not keys:
        return None
    if found.signature is None:
        raise ModelCommandError(
            f"{where}: expected a signature, because a public key is given, found none; sign it: edge-model sign"
        )
    return signed_by(manifest, found.signature, keys, where=where)


def _is_onnx(path: str) -> bool:
    return path.endswith(".onnx")


def _tensors(path: str, content: bytes) -> dict[str, list[str]]:
    try:
        signature = read_signature(content)
    except OnnxError as error:
        raise ModelCommandError(f"{path}: expected an ONNX model: {error}; package it again") from error
    return {"inputs": [str(item) for item in signature.inputs], "outputs": [str(item) for item in signature.outputs]}
