# SPDX-License-Identifier: Apache-2.0
"""Reads the public halves of the signing keys, for the configuration of the devices' agents."""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import boto3

from edge_constructs.handler_kernel import Request, ResourceError, Response, content_id, handle

KEY_SPEC = "ECC_NIST_P256"


class Kms(Protocol):
    """The call of boto3's KMS client that is made here."""

    @property
    def get_public_key(self) -> Callable[..., Any]:
        """GetPublicKey."""


class SigningKeys:
    """Properties: SigningKeys (aliases). Attributes: `PublicKey0`, `PublicKey1` ... in their order.

    Each is the key's SubjectPublicKeyInfo in base64 on one line: the body of its PEM, safe inside JSON.
    """

    def __init__(self, kms: Kms) -> None:
        self._kms = kms

    def apply(self, request: Request) -> Response:
        """Read them.

        Raises:
            ResourceError: a key is none of NIST P-256 that signs.
        """
        data = {}
        for index, alias in enumerate(request.texts("SigningKeys")):
            answer = self._kms.get_public_key(KeyId=alias)
            found = answer.get("KeySpec"), answer.get("KeyUsage")
            if found != (KEY_SPEC, "SIGN_VERIFY"):
                raise ResourceError(f"{alias}: a key {KEY_SPEC} for SIGN_VERIFY is expected, got {found[0]} {found[1]}")
            data[f"PublicKey{index}"] = base64.b64encode(answer["PublicKey"]).decode("ascii")
        return Response(PhysicalResourceId=content_id("signing-keys", request.properties), Data=data)

    def delete(self, request: Request) -> None:
        """Nothing: it only reads."""


@functools.cache
def _handler() -> SigningKeys:
    return SigningKeys(boto3.client("kms"))


def on_event(event: Mapping[str, Any], context: object) -> Response:
    """Lambda entry point."""
    return handle(_handler(), event, context)
