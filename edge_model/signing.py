# SPDX-License-Identifier: Apache-2.0
"""Signatures of packages: by a key that KMS keeps, or by a private key in a file, for trying it out."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import boto3
from awscrt.crypto import EC
from botocore.exceptions import BotoCoreError, ClientError

from edge_model.errors import ModelCommandError
from edge_package import Manifest, Signature

_P256_BYTES = 32


@dataclass(frozen=True)
class PublicKey:
    """A public key of NIST P-256 and its name, for messages."""

    name: str
    key: EC


def sign_with_kms(manifest: Manifest, key_id: str) -> Signature:
    """Have KMS sign a manifest's digest.

    Args:
        manifest: of the package.
        key_id: id, ARN or alias of an asymmetric key, ECC_NIST_P256, SIGN_VERIFY.

    Raises:
        ModelCommandError: KMS refuses.
    """
    try:
        answer = boto3.client("kms").sign(
            KeyId=key_id,
            Message=bytes.fromhex(manifest.digest),
            MessageType="DIGEST",
            SigningAlgorithm="ECDSA_SHA_256",
        )
    except (BotoCoreError, ClientError) as error:
        raise ModelCommandError(
            f"{key_id}: expected a KMS key of ECC_NIST_P256 with the usage SIGN_VERIFY, which you may use: {error}; "
            "name another key, or ask for kms:Sign on it"
        ) from error
    return Signature(key_id=answer["KeyId"], manifest_sha256=manifest.digest, value=answer["Signature"])


def sign_with_file(manifest: Manifest, path: Path) -> Signature:
    """Sign with a private key in a PEM file (SEC 1 or PKCS #8, not encrypted)."""
    key = _key(path, ("EC PRIVATE KEY", "PRIVATE KEY"))
    value: bytes = key.sign(bytes.fromhex(manifest.digest))
    return Signature(key_id=path.name, manifest_sha256=manifest.digest, value=value)


def read_public_key(path: Path) -> PublicKey:
    """Read a public key in PEM, as `kms get-public-key` and openssl give it.

    Raises:
        ModelCommandError: it is none of NIST P-256.
    """
    return PublicKey(name=path.name, key=_key(path, ("PUBLIC KEY",)))


def signed_by(manifest: Manifest, signature: Signature, keys: Sequence[PublicKey], *, where: str) -> str:
    """The name of the key that made a signature.

    Raises:
        ModelCommandError: none of `keys` did.
    """
    for one in keys:
        if one.key.verify(bytes.fromhex(manifest.digest), signature.value):
            return one.name
    raise ModelCommandError(
        f"{where}: expected a signature by {' or '.join(one.name for one in keys)}, got another one (its document "
        f"names the key {signature.key_id!r:.200}); name the right public key, or sign the package again"
    )


def _key(path: Path, kinds: Sequence[str]) -> EC:
    expected = f"{path}: expected a PEM file with a {' or '.join(kinds)} of NIST P-256"
    remedy = "name another file, or make one: openssl ecparam -name prime256v1 -genkey -noout"
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelCommandError(f"{expected}: {error}; {remedy}") from error
    kind = next((kind for kind in kinds if f"-----BEGIN {kind}-----" in text), None)
    if kind is None:
        raise ModelCommandError(f"{expected}, got {text[:40]!r}; {remedy}")
    block = text.partition(f"-----BEGIN {kind}-----")[2].partition(f"-----END {kind}-----")[0]
    try:
        data = base64.b64decode("".join(block.split()), validate=True)
        key = EC.new_key_from_der_data(data)
        size = len(key.get_public_coords().x)
    except (binascii.Error, RuntimeError, ValueError) as error:
        raise ModelCommandError(f"{expected}: {error}; {remedy}") from error
    if size != _P256_BYTES:
        raise ModelCommandError(f"{expected}, got one of {size * 8} bits; {remedy}")
    return key
