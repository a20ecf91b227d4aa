# SPDX-License-Identifier: Apache-2.0
"""A capture, and its form in the spool: a line of JSON, then the payloads one after the other."""

from __future__ import annotations

import dataclasses
import json
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The lists of a record in the order of their folders, see ``record``.
INPUTS, OUTPUTS = "Inputs", "Outputs"
AUXILIARY_INPUTS, AUXILIARY_OUTPUTS = "AuxiliaryInputs", "AuxiliaryOutputs"
LISTS = (INPUTS, OUTPUTS, AUXILIARY_INPUTS, AUXILIARY_OUTPUTS)


class UnreadableCaptureError(Exception):
    """A file of the spool is damaged."""


@dataclasses.dataclass(frozen=True)
class Item:
    """One payload of a capture.

    Attributes:
        kind: Which of the record's ``LISTS`` it belongs to.
        name: The tensor's name, or ``Input-1`` and so on.
        content_type: ``Tensor[FLOAT32; 1, 64]`` for a tensor, the caller's own word otherwise.
        encoding: How the payload is encoded: ``NONE``, ``CSV``, ``JSON`` or ``BASE64``.
        data: The payload.
    """

    kind: str
    name: str
    content_type: str
    encoding: str
    data: bytes


@dataclasses.dataclass(frozen=True)
class Header:
    """What is known of a capture without its payloads.

    Attributes:
        capture_id: The caller's id.
        model_name: The packaged model's name.
        model_version: The packaged model's version.
        inference_time: Seconds since 1970 UTC.
    """

    capture_id: str
    model_name: str
    model_version: str
    inference_time: int


@dataclasses.dataclass(frozen=True)
class Capture:
    """An accepted capture."""

    header: Header
    items: Sequence[Item]


def encode(capture: Capture) -> bytes:
    """Write a capture for the spool."""
    payload = b"".join(item.data for item in capture.items)
    head = {
        **dataclasses.asdict(capture.header),
        "items": [[i.kind, i.name, i.content_type, i.encoding, len(i.data)] for i in capture.items],
        "crc32": zlib.crc32(payload),
    }
    return json.dumps(head).encode() + b"\n" + payload


def decode(content: bytes) -> Capture:
    """Read a capture from the spool.

    Raises:
        UnreadableCaptureError: The file is damaged.
    """
    line, _, payload = content.partition(b"\n")
    head = _head(line)
    items, offset = [], 0
    for kind, name, content_type, encoding, size in head["items"]:
        items.append(Item(kind, name, content_type, encoding, payload[offset : offset + size]))
        offset += size
    if offset != len(payload) or zlib.crc32(payload) != head["crc32"]:
        raise UnreadableCaptureError(f"expected {offset} bytes with CRC {head['crc32']}, got {len(payload)} other ones")
    return Capture(header=_header(head), items=items)


def decode_header(line: bytes) -> Header:
    """Read what stands in the first line.

    Raises:
        UnreadableCaptureError: The file is damaged.
    """
    return _header(_head(line))


def _head(line: bytes) -> dict[str, Any]:
    try:
        head: dict[str, Any] = json.loads(line)
        _header(head)
        sizes = [int(size) for _, _, _, _, size in head["items"]]
        valid = min(sizes, default=0) >= 0 and isinstance(head["crc32"], int)
    except (ValueError, KeyError, TypeError) as error:
        raise UnreadableCaptureError(f"expected a capture's first line, got {line[:80]!r}: {error}") from None
    if not valid:
        raise UnreadableCaptureError(f"expected sizes of 0 or more and a checksum, got {line[:80]!r}")
    return head


def _header(head: dict[str, Any]) -> Header:
    return Header(
        capture_id=str(head["capture_id"]),
        model_name=str(head["model_name"]),
        model_version=str(head["model_version"]),
        inference_time=int(head["inference_time"]),
    )
