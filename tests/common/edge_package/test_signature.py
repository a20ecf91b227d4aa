# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_package import PackageError, Signature
from edge_package.signature import LONGEST_DOCUMENT

WHOLE = json.loads(Signature(key_id="k", manifest_sha256="0" * 64, value=b"\x30\x06").document())


def test_a_document_has_exactly_these_bytes() -> None:
    signature = Signature(key_id="arn:aws:kms:::key/1", manifest_sha256="ab" * 32, value=b"\x30\x06")
    assert signature.document().decode() == (
        '{"algorithm":"ECDSA_SHA_256","key_id":"arn:aws:kms:::key/1",'
        f'"manifest_sha256":"{"ab" * 32}",'
        '"sha256":"87bd2a296a6933220344d6e546b05d3cd896cd4b27ee15c6be64d455f7f4f4e7","signature":"MAY="}'
    )
    assert Signature.parse(signature.document(), source="a.sig") == signature


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 5000,
        json.dumps({**WHOLE, "extra": "x"}).encode(),
        json.dumps({**WHOLE, "signature": 1}).encode(),
        json.dumps({**WHOLE, "algorithm": "RSASSA_PSS_SHA_256"}).encode(),
        json.dumps({**WHOLE, "signature": "not base64!"}).encode(),
        json.dumps({**WHOLE, "key_id": "k" * 9000}).encode(),
        json.dumps(WHOLE).encode(),
        json.dumps({**WHOLE, "signature": "MAZ="}, sort_keys=True, separators=(",", ":")).encode(),
    ],
)
def test_another_document_is_refused_by_name(content: bytes) -> None:
    with pytest.raises(PackageError, match=r"a\.sig"):
        Signature.parse(content, source="a.sig")


def test_a_document_may_have_this_many_bytes_and_no_more() -> None:
    base = len(Signature(key_id="", manifest_sha256="ab" * 32, value=b"0").document())
    for length in (LONGEST_DOCUMENT, LONGEST_DOCUMENT + 1):
        signature = Signature(key_id="k" * (length - base), manifest_sha256="ab" * 32, value=b"0")
        assert len(signature.document()) == length
        if length == LONGEST_DOCUMENT:
            assert Signature.parse(signature.document(), source="a.sig") == signature
        else:
            with pytest.raises(PackageError, match=r"a\.sig: expected a JSON object of at most 8192 bytes"):
                Signature.parse(signature.document(), source="a.sig")


@given(st.data())
def test_no_changed_byte_passes(data: st.DataObject) -> None:
    content = bytearray(Signature(key_id="arn:aws:kms:::key/1", manifest_sha256="ab" * 32, value=bytes(70)).document())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(PackageError, match=r"a\.sig"):
        Signature.parse(bytes(content), source="a.sig")


@given(st.binary(max_size=100))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with pytest.raises(PackageError):
        Signature.parse(content, source="a.sig")
