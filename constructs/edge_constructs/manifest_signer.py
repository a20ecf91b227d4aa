# SPDX-License-Identifier: Apache-2.0
"""Signs a package's manifest digest with a KMS key, once, into an object of its own. Standard library and botocore."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from botocore.exceptions import ClientError

from edge_constructs.handler_kernel import Deadline, ResourceError
from edge_constructs.s3_objects import S3, ObjectWriter, open_object, parse_uri
from edge_package import PackageError
from edge_package.signature import ALGORITHM, LONGEST_DOCUMENT, Signature

# A key that is gone made nothing that can still be verified.
_NOT_BY_THIS_KEY = frozenset({"KMSInvalidSignatureException", "NotFoundException"})
# A key that is disabled, or waits for its deletion, tells nothing; another may.
_UNUSABLE = frozenset({"DisabledException", "KMSInvalidStateException"})


class Kms(Protocol):
    """The calls of boto3's KMS client that are made here."""

    @property
    def sign(self) -> Callable[..., Any]:
        """Sign."""

    @property
    def verify(self) -> Callable[..., Any]:
        """Verify."""


class ManifestSigner:
    """Signs with the first of `keys` (aliases), and takes what any of them signed before.

    ECDSA is randomised: a signature that is there is kept, so that a repeated event changes no byte.
    """

    def __init__(self, s3: S3, kms: Kms, *, keys: Sequence[str], deadline: Deadline) -> None:
        self._s3 = s3
        self._kms = kms
        self._keys = keys
        self._deadline = deadline

    def sign_once(self, manifest_sha256: str, uri: str) -> Signature:
        """Bring about the signature document of a manifest.

        Args:
            manifest_sha256: the model digest, lower-case hex.
            uri: `s3://` address of the document.

        Raises:
            ResourceError: another document is there, or none of the keys made it.
        """
        if (present := self._present(manifest_sha256, uri)) is not None:
            return present
        answer = self._kms.sign(
            KeyId=self._keys[0],
            Message=bytes.fromhex(manifest_sha256),
            MessageType="DIGEST",
            SigningAlgorithm=ALGORITHM,
        )
        signature = Signature(key_id=answer["KeyId"], manifest_sha256=manifest_sha256, value=answer["Signature"])
        with ObjectWriter(self._s3, *parse_uri(uri), deadline=self._deadline) as target:
            target.write(signature.document())
            if target.finish() is not None:
                return signature
        # Another run was quicker; its signature is as good if a key of ours made it.
        if (present := self._present(manifest_sha256, uri)) is None:
            raise ResourceError(f"{uri}: S3 says that it exists, and that it does not: deploy again")
        return present

    def _present(self, manifest_sha256: str, uri: str) -> Signature | None:
        body = open_object(self._s3, *parse_uri(uri))
        if body is None:
            return None
        content: bytes = body.read(LONGEST_DOCUMENT + 1)
        try:
            signature = Signature.parse(content, source=uri)
        except PackageError as error:
            raise ResourceError(f"{error}; signatures are never overwritten: find out who wrote it") from error
        if signature.manifest_sha256 != manifest_sha256:
            raise ResourceError(
                f"{uri}: a signature of the manifest {manifest_sha256} is expected, this one is of "
                f"{signature.manifest_sha256!r:.100}: signatures are never overwritten"
            )
        unusable: dict[str, str] = {}
        if not any(self._made_by(key, signature, unusable) for key in self._keys):
            if unusable:
                states = "; ".join(f"{key}: {state}" for key, state in unusable.items())
                raise ResourceError(
                    f"{uri}: its signature, by {signature.key_id!r:.200}, cannot be verified, as a key cannot be used: "
                    f"{states:.800}. Enable that key (cancel its deletion first), or give the model a new version, "
                    "which is signed anew"
                )
            raise ResourceError(
                f"{uri}: a signature by {' or '.join(self._keys)} is expected, this one is by {signature.key_id!r:.200}"
                f" (SHA-256 of the document {hashlib.sha256(content).hexdigest()[:12]}): devices would refuse the "
                "package. Keep that key in signing.keys, or give the model a new version, which is signed anew"
            )
        return signature

    def _made_by(self, key: str, signature: Signature, unusable: dict[str, str]) -> bool:
        """Whether the key made it; `unusable` gets the state of a key that could not be asked."""
        try:
            answer = self._kms.verify(
                KeyId=key,
                Message=bytes.fromhex(signature.manifest_sha256),
                MessageType="DIGEST",
                SigningAlgorithm=ALGORITHM,
                Signature=signature.value,
            )
        except ClientError as error:
            code, message = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
            if code in _UNUSABLE:
                unusable[key] = f"{code} {message}".strip()
            elif code not in _NOT_BY_THIS_KEY:
                raise
            return False
        return bool(answer["SignatureValid"])
