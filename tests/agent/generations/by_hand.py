# SPDX-License-Identifier: Apache-2.0
"""Messages written and read by hand: each field's bytes from its number, without protobuf."""

from __future__ import annotations

from typing import Any

from tests.agent.generations.contract import ENUMS, Declaration

_INTEGERS = {"uint64", "int64", "int32", *ENUMS}


def encode(messages: Declaration, name: str, fields: dict[str, Any]) -> bytes:
    """Write a message; numbers of a list each with a tag of its own, which proto3's own stubs never do."""
    declared = {field.rstrip("*"): entry for field, entry in messages[name].items()}
    return b"".join(
        _field(messages, *declared[field], one)
        for field, value in fields.items()
        for one in (value if isinstance(value, list) else [value])
    )


def _field(messages: Declaration, number: int, kind: str, value: Any) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    payload = encode(messages, kind, value) if isinstance(value, dict) else value
    payload = payload.encode() if isinstance(payload, str) else payload
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    encoded = b""
    while value >= 0x80:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])


def decode(messages: Declaration, name: str, content: bytes) -> dict[str, Any]:
    """Read a message; every field is there, as its default when it was not sent, None for a message.

    Raises:
        ValueError: A field is unknown, or of another wire type.
    """
    fields = messages[name]
    values = {field.rstrip("*"): [] if field.endswith("*") else _default(kind) for field, (_, kind) in fields.items()}
    by_number = {number: (field, kind) for field, (number, kind) in fields.items()}
    position = 0
    while position < len(content):
        tag, position = _read_varint(content, position)
        if tag >> 3 not in by_number:
            raise ValueError(f"{name} has no field {tag >> 3}")
        field, kind = by_number[tag >> 3]
        read, position = _read(messages, kind, tag & 7, content, position)
        if field.endswith("*"):
            values[field.rstrip("*")] += read
        else:
            (values[field],) = read
    return values


def _default(kind: str) -> Any:
    return 0 if kind in _INTEGERS else {"string": "", "bytes": b""}.get(kind)


def _read(messages: Declaration, kind: str, wire: int, content: bytes, position: int) -> tuple[list[Any], int]:
    number, position = _read_varint(content, position)
    if wire == 0 and kind in _INTEGERS:
        return [_signed(number)], position
    if wire != 2 or position + number > len(content):
        raise ValueError(f"expected a {kind}, got wire type {wire} and {number}")
    payload, position = content[position : position + number], position + number
    if kind in _INTEGERS:
        packed, inside = [], 0
        while inside < len(payload):
            one, inside = _read_varint(payload, inside)
            packed.append(_signed(one))
        return packed, position
    if kind in messages:
        return [decode(messages, kind, payload)], position
    return [payload.decode() if kind == "string" else payload], position


def _read_varint(content: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[position]
        value, shift, position = value | (byte & 0x7F) << shift, shift + 7, position + 1
        if byte < 0x80:
            return value, position


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value
