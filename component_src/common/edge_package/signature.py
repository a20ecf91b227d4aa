# SPDX-License-Identifier: Apache-2.0
"""The detached signature of a package: a small JSON document, so that it says which key made it and over what.

The signature proper is ECDSA on NIST P-256 with SHA-256 over the canonical manifest, DER-encoded: what KMS's `Sign`
returns for `ECDSA_SHA_256`, given the model digest as `MessageType=DIGEST`. The manifest names the digest of every
file, so the one signature covers them all. The document ends in a checksum of itself: who signed is only told to
people, and yet no flipped byte of it passes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from edge_package.errors import PackageError
from edge_package.manifest import MANIFEST_NAME

SIGNATURE_SUFFIX = ".sig"
"""Beside a package file: `<package file>.sig`."""
SIGNATURE_NAME = MANIFEST_NAME + SIGNATURE_SUFFIX
"""Inside an unpacked package, beside the manifest. It is not listed in the manifest, which it signs."""
ALGORITHM = "ECDSA_SHA_256"
LONGEST_DOCUMENT = 8192

_KEYS = {"algorithm", "key_id", "manifest_sha256", "sha256", "signature"}


@dataclass(frozen=True)
class Signature:
    """A signature document.

    Attributes:
        key_id: names the key to people, such as a KMS key's ARN; nothing is looked up by it.
        manifest_sha256: the model digest that was signed, lower-case hex.
        value: the DER-encoded ECDSA signature.
    """

    key_id: str
    manifest_sha256: str
    value: bytes

    def document(self) -> bytes:
        """The file's content."""
        fields = {
            "algorithm": ALGORITHM,
            "key_id": self.key_id,
            "manifest_sha256": self.manifest_sha256,
            "signature": base64.b64encode(self.value).decode("ascii"),
        }
        return _canonical({**fields, "sha256": hashlib.sha256(_canonical(fields)).hexdigest()})

    @classmethod
    def parse(cls, content: bytes, *, source: str) -> Signature:
        """Read a signature document.

        Args:
            content: the file's content.
            source: its name, for messages.

        Raises:
            PackageError: it is not one, or of an algorithm that is not known here.
        """
        fields = _texts(content)
        if set(fields) != _KEYS:
            raise PackageError(
                f"{source}: expected a JSON object of at most {LONGEST_DOCUMENT} bytes with the texts "
                f"{', '.join(sorted(_KEYS))}, got {content[:60]!r}"
            )
        if fields["algorithm"] != ALGORITHM:
            raise PackageError(f"{source}: expected the algorithm {ALGORITHM}, got {fields['algorithm']!r:.100}")
        try:
            value = base64.b64decode(fields["signature"], validate=True)
        except (binascii.Error, ValueError) as error:
            raise PackageError(f"{source}: signature: expected base64: {error}") from None
        signature = cls(key_id=fields["key_id"], manifest_sha256=fields["manifest_sha256"], value=value)
        if signature.document() != content:
            raise PackageError(
                f"{source}: expected the document as it was written (checksum, order, no white space), got a "
                "changed one; fetch it again"
            )
        return signature


def _canonical(fields: Mapping[str, str]) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode("ascii")


def _texts(content: bytes) -> dict[str, str]:
    """The members of a JSON object whose values are all texts; none for anything else."""
    try:
        fields = json.loads(content) if len(content) <= LONGEST_DOCUMENT else None
    except (ValueError, RecursionError):
        return {}
    if not isinstance(fields, dict) or not all(isinstance(value, str) for value in fields.values()):
        return {}
    return fields
