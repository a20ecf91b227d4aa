# SPDX-License-Identifier: Apache-2.0
"""From a path to a running model: read, verify, trust, then open. Nothing is opened that was not verified."""

from __future__ import annotations

import dataclasses
import logging
import os
from typing import TYPE_CHECKING, Callable

from edge_agent.engines import Engine, EngineOptions, open_engine
from edge_agent.errors import UntrustedPackageError
from edge_package import (
    SIGNATURE_NAME,
    SIGNATURE_SUFFIX,
    Manifest,
    Package,
    PackageError,
    Signature,
    measure_package_file,
    read_package,
    read_package_file,
)
from edge_package.signature import LONGEST_DOCUMENT

if TYPE_CHECKING:
    from pathlib import Path

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class LoaderOptions:
    """What may be loaded, and how.

    Attributes:
        engine: For the runtimes.
        root_certs: The directory of public keys; None when there is none.
        public_keys: More of them: each a SubjectPublicKeyInfo in base64.
        require_signature: Whether a package without a verified signature is refused.
        package_max_bytes: How many bytes the files of a package file may have together.
    """

    engine: EngineOptions
    root_certs: Path | None
    public_keys: tuple[str, ...]
    require_signature: bool
    package_max_bytes: int


@dataclasses.dataclass(frozen=True)
class Opened:
    """A model that is ready to run.

    Attributes:
        manifest: Of its package.
        engine: What runs it.
        size: Bytes of the package's files.
        signed_by: The file of the public key that verified its signature; empty when none did.
    """

    manifest: Manifest
    engine: Engine
    size: int
    signed_by: str


class Loader:
    """Opens packages; ``options`` may be replaced at any time and hold for the packages that are opened after that.

    Args:
        options: What may be loaded, and how.
    """

    def __init__(self, options: LoaderOptions) -> None:
        self.options = options

    def open(self, path: Path, *, reserve: Callable[[int], None] = lambda _size: None) -> Opened:
        """Open an unpacked package's directory, or a package file.

        Args:
            path: The package.
            reserve: Is told the bytes of the package's files before any of them is held, and may refuse.

        Raises:
            FileNotFoundError: There is neither.
            PackageError: The package was altered.
            UntrustedPackageError: It is not trusted.
        FailedPreconditionError: It cannot run here.
            OSError: It cannot be read.
        """
        options = self.options
        is_file = path.is_file()
        size = measure_package_file(path, max_bytes=options.package_max_bytes) if is_file else _measure(path)
        reserve(size)
        package = read_package_file(path, max_bytes=size) if is_file else read_package(path)
        if sum(entry.size for entry in package.manifest.files) > size:
            raise PackageError(f"{path}: expected at most the {size} bytes that it began with, it grew; load it again")
        signature = path.with_name(path.name + SIGNATURE_SUFFIX) if is_file else path / SIGNATURE_NAME
        signed_by = _signer(package, signature, options)
        engine = open_engine(package.contents, options.engine, signed=bool(signed_by))
        return Opened(manifest=package.manifest, engine=engine, size=size, signed_by=signed_by)


def _measure(directory: Path) -> int:
    return sum(one.lstat().st_size for one in directory.rglob("*") if one.is_file())


def _signer(package: Package, path: Path, options: LoaderOptions) -> str:
    document = _read(path)
    if document is None or (options.root_certs is None and not options.public_keys):
        if options.require_signature:
            what = "there are no public keys" if document is not None else f"there is no {path}"
            raise UntrustedPackageError(f"signature: expected a verified one (RequireSignature is true), but {what}")
        if document is not None:
            _LOG.warning("signature_not_checked", extra={"fields": {"file": str(path), "reason": "no public keys"}})
        return ""
    from edge_agent.trust import TrustError, verify  # noqa: PLC0415 # its native library is not loaded without need

    try:
        signature = Signature.parse(document, source=str(path))
        return verify(package.manifest, signature, directory=options.root_certs, public_keys=options.public_keys)
    except (TrustError, PackageError) as error:
        raise UntrustedPackageError(str(error)) from None


def _read(path: Path) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read(LONGEST_DOCUMENT + 1)
