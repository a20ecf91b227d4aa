# SPDX-License-Identifier: Apache-2.0
"""A capture, and its form in the spool: a line of JSON with the smaller payloads after it; larger ones beside it."""

from __future__ import annotations

import dataclasses
import errno
import json
import re
import zlib
from typing import TYPE_CHECKING, Any, Callable, cast

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

#: The lists of a record in the order of their folders, see ``record``.
INPUTS, OUTPUTS = "Inputs", "Outputs"
AUXILIARY_INPUTS, AUXILIARY_OUTPUTS = "AuxiliaryInputs", "AuxiliaryOutputs"
LISTS = (INPUTS, OUTPUTS, AUXILIARY_INPUTS, AUXILIARY_OUTPUTS)
#: Longest payload within a capture's own file, bytes: no record embeds more.
LARGEST_WITHIN = 3072
#: What the plan of a batch takes of a disk, for each of its members.
PLAN_BYTES = 4096
_WORDS = 4  # of an item before its numbers
_CHUNK = 1 << 18
_LOST = {errno.ENOENT, errno.EIO, errno.EISDIR, errno.ENOTDIR, errno.ELOOP}
_BLOCK = 4096  # what the smallest file takes of a disk
_END_OF_TIME = 253402300800  # seconds: the year 10000, which no folder of an hour can name
_CHECKED = re.compile(rb'(\{.*), "line_crc32": (\d{1,10})\}', re.DOTALL)
_HEAD = {"capture_id", "model_name", "model_version", "inference_time", "items", "crc32"}


class UnreadableCaptureError(Exception):
    """A file of the spool is damaged."""


def unreadable(path: Path, error: OSError) -> Exception:
    """What an error of the disk means: that a file is lost, or, as when it was not one of the file's, the error."""
    if error.errno in _LOST:
        return UnreadableCaptureError(f"{path.name}: {error.strerror}")
    return error


@dataclasses.dataclass(frozen=True)
class Payload:
    """A payload in a file of its own.

    Attributes:
        path: The file.
        size: How many bytes it should have.
        crc32: Their checksum.
    """

    path: Path
    size: int
    crc32: int

    def __len__(self) -> int:
        return self.size

    def verify(self) -> None:
        """Hold the file against what is known of it.

        Raises:
            UnreadableCaptureError: It is gone or damaged.
        """
        size = crc32 = 0
        try:
            with self.path.open("rb", buffering=0) as stream:
                while chunk := stream.read(_CHUNK):
                    size, crc32 = size + len(chunk), zlib.crc32(chunk, crc32)
        except OSError as error:
            raise unreadable(self.path, error) from error
        if (size, crc32) != (self.size, self.crc32):
            raise UnreadableCaptureError(
                f"{self.path.name}: expected {self.size} bytes with CRC {self.crc32}, got {size} with {crc32}"
            )


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
    data: bytes | Payload


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


@dataclasses.dataclass(frozen=True)
class Encoded:
    """A capture as the spool writes it.

    Attributes:
        content: Of its file: a line of JSON, then the smaller payloads one after the other.
        payloads: The larger payloads by their place among the items; each becomes a file, which a disk takes over.
    """

    content: bytes
    payloads: dict[int, bytes]

    @property
    def size(self) -> int:
        """Bytes that all its files take of a disk, with the plan of its batch, which may have no other member."""
        return PLAN_BYTES + on_disk(len(self.content)) + sum(on_disk(len(data)) for data in self.payloads.values())


def on_disk(size: int) -> int:
    """Bytes that a file of a size takes of a disk, where it has whole blocks: of small captures, most of it."""
    return -(-size // _BLOCK) * _BLOCK


def encode(capture: Capture) -> Encoded:
    """Write a capture, whose payloads are in memory, for the spool."""
    own: dict[int, bytes] = {}
    within, items = [], []
    for index, one in enumerate(capture.items):
        data = cast("bytes", one.data)
        item: list[str | int] = [one.kind, one.name, one.content_type, one.encoding, len(data)]
        if len(data) > LARGEST_WITHIN:
            own[index] = data
            item.append(zlib.crc32(data))
        else:
            within.append(data)
        items.append(item)
    payload = b"".join(within)
    head = {**dataclasses.asdict(capture.header), "items": items, "crc32": zlib.crc32(payload)}
    line = json.dumps(head).encode()
    checked = line[:-1] + f', "line_crc32": {zlib.crc32(line)}}}\n'.encode()
    return Encoded(checked + payload, own)


def decode(content: bytes, *, payload: Callable[[int], Path]) -> Capture:
    """Read a capture's file.

    Args:
        content: Of the file.
        payload: Gives the file of a larger payload by its place among the items; it is not looked at.

    Raises:
        UnreadableCaptureError: The file is damaged.
    """
    line, _, within = content.partition(b"\n")
    head = _head(line)
    items: list[Item] = []
    offset = 0
    for kind, name, content_type, encoding, size, *crc32 in head["items"]:
        if crc32:
            items.append(Item(kind, name, content_type, encoding, Payload(payload(len(items)), size, *crc32)))
        else:
            items.append(Item(kind, name, content_type, encoding, within[offset : offset + size]))
            offset += size
    if offset != len(within) or zlib.crc32(within) != head["crc32"]:
        raise UnreadableCaptureError(f"expected {offset} bytes with CRC {head['crc32']}, got {len(within)} other ones")
    return Capture(header=_header(head), items=items)


def decode_header(line: bytes) -> Header:
    """Read what stands in the first line.

    Raises:
        UnreadableCaptureError: The file is damaged.
    """
    return _header(_head(line))


def _head(line: bytes) -> dict[str, Any]:
    checked = _CHECKED.fullmatch(line.rstrip(b"\n"))
    if checked is not None:  # former versions wrote none
        line = checked[1] + b"}"
        if zlib.crc32(line) != int(checked[2]):
            raise UnreadableCaptureError(f"expected a first line with CRC {checked[2].decode()}, got {line[:80]!r}")
    try:
        head: dict[str, Any] = json.loads(line)
        _header(head)
        numbers = [number for item in head["items"] for number in item[_WORDS:]]
        shapes = {len(item) - _WORDS for item in head["items"]} <= {1, 2}
        valid = shapes and head.keys() == _HEAD
        valid = valid and all(isinstance(number, int) and number >= 0 for number in [*numbers, head["crc32"]])
    except (ValueError, KeyError, TypeError) as error:
        raise UnreadableCaptureError(f"expected a capture's first line, got {line[:80]!r}: {error}") from None
    if not valid:
        raise UnreadableCaptureError(f"expected known keys, sizes of 0 or more and a checksum, got {line[:80]!r}")
    return head


def _header(head: dict[str, Any]) -> Header:
    seconds = int(head["inference_time"])
    if not 0 <= seconds < _END_OF_TIME:
        raise ValueError(f"inference_time {seconds}")
    return Header(
        capture_id=str(head["capture_id"]),
        model_name=str(head["model_name"]),
        model_version=str(head["model_version"]),
        inference_time=seconds,
    )
