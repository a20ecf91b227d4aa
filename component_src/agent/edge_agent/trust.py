# SPDX-License-Identifier: Apache-2.0
"""The root of trust: public keys that this device was given, one of which must have signed a package's manifest."""

from __future__ import annotations

import base64
import binascii
import os
import stat
from typing import TYPE_CHECKING

from awscrt.crypto import EC  # on every device already, as Greengrass IPC's client is built on it

from edge_package import PackageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge_package import Manifest, Signature

_BEGIN, _END = "-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"
_P256_BYTES = 32
_LONGEST_KEY_FILE = 65536
_CHANGEABLE = 0o333
_OTHERS_WRITE = 0o022


class TrustError(Exception):
    """The root of trust cannot be relied on, or does not know a signature; the message says why."""


def read_keys(directory: Path) -> dict[str, EC]:
    """Read every ``*.pem`` of a directory: one public key of NIST P-256 each. All of them are valid at once.

    Nobody may be able to change a key on the way: the files must have no write or execute bit, as Edge Manager asked
    for (0444 or 0400), and only its owner may write to the directory.

    Raises:
        TrustError: There is no key, or a file is not what it must be; it is named.
    """
    try:
        mode = stat.S_IMODE(directory.stat().st_mode)
        if mode & _OTHERS_WRITE:
            raise TrustError(
                f"RootCertsPath: {directory}: expected that only its owner may write to it, got {mode:04o}"
            )
        paths = sorted(directory.glob("*.pem"))
        keys = {path.name: _read_key(path) for path in paths}
    except OSError as error:
        raise TrustError(f"RootCertsPath: expected a readable directory with public keys: {error}") from None
    if not keys:
        raise TrustError(f"RootCertsPath: {directory}: expected at least one *.pem with a public key, got none")
    return keys


def trusted_keys(directory: Path | None, public_keys: Sequence[str]) -> dict[str, EC]:
    """All keys that are valid, those of a directory and those of the configuration, by name.

    Args:
        directory: See ``read_keys``; None when there is none.
        public_keys: Each a SubjectPublicKeyInfo in base64; it is named by its place and the end of its text.

    Raises:
        TrustError: One is not what it must be; it is named.
    """
    keys = {} if directory is None else read_keys(directory)
    for place, text in enumerate(public_keys, start=1):
        name = f"SigningPublicKeys {place} (...{text[-8:]})"
        keys[name] = _p256(text, name)
    return keys


def verify(manifest: Manifest, signature: Signature, *, directory: Path | None, public_keys: Sequence[str] = ()) -> str:
    """Find the key that signed a manifest, among ``trusted_keys``.

    Returns:
        Its name.

    Raises:
        TrustError: There is none, or the root of trust cannot be relied on.
        PackageError: The signature is of another package.
    """
    if signature.manifest_sha256 != manifest.digest:
        raise PackageError(
            f"signature: expected one of the manifest {manifest.digest}, got one of "
            f"{signature.manifest_sha256!r:.100}: it belongs to another package"
        )
    keys = trusted_keys(directory, public_keys)
    digest = bytes.fromhex(manifest.digest)
    for name, key in keys.items():
        if key.verify(digest, signature.value):
            return name
    raise TrustError(
        f"signature: expected one by a key of the root of trust ({', '.join(keys)}), got another one "
        f"(its document names the key {signature.key_id!r:.200})"
    )


def _read_key(path: Path) -> EC:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        mode = stat.S_IMODE(status.st_mode)
        if not stat.S_ISREG(status.st_mode) or mode & _CHANGEABLE:
            raise TrustError(
                f"RootCertsPath: {path}: expected a plain file without write and execute bits (0444), got {mode:04o}; "
                f"chmod 0444 it"
            )
        content = stream.read(_LONGEST_KEY_FILE)
    text = content.decode("ascii", errors="replace").strip()
    if not (text.startswith(_BEGIN) and text.endswith(_END)):
        raise TrustError(f"RootCertsPath: {path}: expected one PEM block {_BEGIN!r}, got {text[:40]!r}")
    return _p256("".join(text[len(_BEGIN) : -len(_END)].split()), f"RootCertsPath: {path}")


def _p256(text: str, name: str) -> EC:
    try:
        key = EC.new_key_from_der_data(base64.b64decode(text, validate=True))
        size = len(key.get_public_coords().x)
    except (binascii.Error, RuntimeError, ValueError) as error:
        raise TrustError(f"{name}: expected a public key of NIST P-256 in base64: {error}") from None
    if size != _P256_BYTES:
        raise TrustError(f"{name}: expected a key of NIST P-256, got one of {size * 8} bits")
    return key
