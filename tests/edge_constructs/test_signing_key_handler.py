# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
from typing import Any

import pytest
from awscrt.crypto import ECExportFormat, ECType

from edge_constructs import signing_key_handler as handler
from edge_constructs.handler_kernel import ResourceError


@pytest.fixture(autouse=True)
def _served(kms: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler, "_handler", lambda: handler.SigningKeys(kms.client))


def event(*keys: str, type_: str = "Create") -> dict[str, Any]:
    return {"RequestType": type_, "LogicalResourceId": "Keys", "ResourceProperties": {"SigningKeys": list(keys)}}


def test_the_public_halves_come_in_the_order_of_the_keys_on_one_line_each(kms: Any) -> None:
    newer, former = kms.add("alias/newer"), kms.add("alias/former")
    answer = handler.on_event(event("alias/newer", "alias/former"), None)
    expected = [base64.b64encode(key.export_key(ECExportFormat.SPKI)).decode() for key in (newer, former)]
    assert [answer["Data"]["PublicKey0"], answer["Data"]["PublicKey1"]] == expected
    assert handler.on_event(event("alias/newer", "alias/former", type_="Update"), None) == answer
    handler.on_event({**event("alias/newer", type_="Delete"), "PhysicalResourceId": "x"}, None)


def test_a_key_of_another_kind_is_refused(kms: Any) -> None:
    kms.add("alias/other", ECType.P_384)
    with pytest.raises(ResourceError, match="alias/other: a key ECC_NIST_P256 for SIGN_VERIFY is expected, got"):
        handler.on_event(event("alias/other"), None)
