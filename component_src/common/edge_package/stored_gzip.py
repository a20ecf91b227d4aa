# SPDX-License-Identifier: Apache-2.0
"""gzip that frames and does not compress: trained weights hardly shrink, and compressors differ between machines."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_package.package_stream import Writable

_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # deflate, no name, no date, no operating system
_BLOCK = 0xFFFF  # the most that a stored block of deflate holds


class StoredGzipWriter:
    """Writes a gzip stream of stored blocks: its bytes depend on the content alone, not on zlib or on the writes.

    Args:
        target: takes the stream; it is not closed. 64 KiB at the most are held back.
    """

    def __init__(self, target: Writable) -> None:
        self._target = target
        self._pending = bytearray()
        self._crc = 0
        self._size = 0
        target.write(_HEADER)

    def write(self, data: bytes) -> None:
        """Append bytes of the content."""
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)
        self._pending += data
        whole = (len(self._pending) - 1) // _BLOCK  # one byte at least stays for the last block
        if whole > 0:
            view = memoryview(self._pending)
            blocks = [_block(view[at : at + _BLOCK]) for at in range(0, whole * _BLOCK, _BLOCK)]
            view.release()
            self._target.write(b"".join(blocks))
            del self._pending[: whole * _BLOCK]

    def finish(self) -> None:
        """Write the last block and the checksum."""
        self._target.write(_block(bytes(self._pending), last=True))
        self._target.write(struct.pack("<II", self._crc, self._size & 0xFFFFFFFF))


def _block(data: bytes | memoryview, *, last: bool = False) -> bytes:
    return struct.pack("<BHH", last, len(data), len(data) ^ 0xFFFF) + bytes(data)
