# SPDX-License-Identifier: Apache-2.0
"""Deployment documents: what devices of a group shall run, as Greengrass has it and as it is kept in SSM."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any

from operations.errors import OperationError

# What one deployment says that another one of the same content has to say too.
_MEMBERS = ("components", "deploymentPolicies", "iotJobConfiguration")
# Bytes of an SSM parameter: above the first it must be of the advanced tier, above the second there is none.
STANDARD_BYTES, ADVANCED_BYTES = 4096, 8192
_COMPRESSED = "zlib:"
_LARGEST = 1 << 22  # bytes of what a record may unpack to: four times the most that a deployment document may have

Document = Mapping[str, Any]


def document_of(deployment: Mapping[str, Any]) -> Document:
    """The document in an answer of GetDeployment, as CreateDeployment takes it."""
    return {member: deployment[member] for member in _MEMBERS if member in deployment}


def encode(documents: Mapping[str, Document]) -> str:
    """Documents by thing group as the value of an SSM parameter, compressed where that is needed.

    Raises:
        OperationError: they are too large for any parameter.
    """
    text = json.dumps({"groups": documents}, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    if len(text) > STANDARD_BYTES:
        text = _COMPRESSED + base64.b64encode(zlib.compress(text.encode(), 9)).decode()
    if len(text) > ADVANCED_BYTES:
        raise OperationError(
            f"the deployment documents of {', '.join(sorted(documents))} have {len(text)} bytes compressed, an SSM "
            f"parameter takes {ADVANCED_BYTES}: this release cannot be kept as the last good one, and so cannot be "
            "restored; shorten what the deployment merges (labels are the longest, as a rule)"
        )
    return text


def decode(text: str) -> dict[str, Document]:
    """What `encode` wrote.

    Raises:
        OperationError: it was not written by it.
    """
    try:
        return _groups(json.loads(_unpacked(text)))
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise OperationError(
            f"the record of the last good release cannot be read ({error}), it begins {text[:40]!r}; a release that "
            "passes verification writes it anew"
        ) from error


def _unpacked(text: str) -> str:
    if not text.startswith(_COMPRESSED):
        return text
    unpacker = zlib.decompressobj()
    packed = base64.b64decode(text.removeprefix(_COMPRESSED), validate=True)
    unpacked = unpacker.decompress(packed, _LARGEST)
    if not unpacker.eof:
        raise ValueError(f"it is cut off, or unpacks to more than {_LARGEST} bytes")
    return unpacked.decode()


def _groups(record: Any) -> dict[str, Document]:
    groups = record["groups"]
    if not isinstance(groups, dict) or not groups or not all(map(_is_document, groups.values())):
        raise ValueError("it names no groups with a deployment document each")
    return groups


def _is_document(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("components"), dict) and set(value) <= set(_MEMBERS)
