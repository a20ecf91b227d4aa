# SPDX-License-Identifier: Apache-2.0
"""The files of captures on their way."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from edge_agent.captures.capture import Capture, Encoded, Header, Payload, UnreadableCaptureError, decode, decode_header
from edge_agent.files import PART_SUFFIX, make_directory, write_all, write_whole

if TYPE_CHECKING:
    from pathlib import Path

SUFFIX = ".capture"
_PAYLOAD_SUFFIX = ".payload"


class CaptureFiles:
    """A folder with one file for each capture, and one beside it for each of its larger payloads.

    A capture is there if and only if its file is: that is written last, and removed first.

    Args:
        directory: The folder; only one process at a time may use it.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._payloads: dict[str, tuple[Path, ...]] = {}
        self._inherited: set[str] = set()  # from an earlier process
        make_directory(directory)

    def write(self, file: str, encoded: Encoded) -> None:
        """Write a capture, whole or not at all; it survives the end of the process, not yet a power cut."""
        paths = tuple(self._payload(file, index) for index in encoded.payloads)
        try:
            for path, data in zip(paths, encoded.payloads.values()):
                with path.open("wb", buffering=0) as stream:
                    write_all(stream, data)
            write_whole(self.directory / file, encoded.content)
        except BaseException:
            for path in paths:
                with contextlib.suppress(OSError):
                    path.unlink()
            raise
        if paths:
            self._payloads[file] = paths

    def read(self, file: str) -> Capture:
        """Read a capture; its larger payloads stay in their files.

        Those that an earlier process wrote are verified: there may have been a power cut, which they need not survive.

        Raises:
            UnreadableCaptureError: A file is damaged or gone.
        """
        try:
            content = (self.directory / file).read_bytes()
        except FileNotFoundError:
            raise UnreadableCaptureError("the file is gone") from None
        capture = decode(content, payload=lambda index: self._payload(file, index))
        if file in self._inherited:
            for item in capture.items:
                if isinstance(item.data, Payload):
                    item.data.verify()
        return capture

    def header(self, file: str) -> Header:
        """Read what is known of a capture without its payloads.

        Raises:
            UnreadableCaptureError: The file is damaged.
        """
        with (self.directory / file).open("rb") as stream:
            return decode_header(stream.readline())

    def remove(self, file: str) -> None:
        """Remove a capture, if it is there."""
        self._inherited.discard(file)
        for path in (self.directory / file, *self._payloads.pop(file, ())):
            path.unlink(missing_ok=True)

    def resume(self) -> dict[str, int]:
        """The files that an earlier process left, the oldest first, with their bytes; what is no capture is removed."""
        sizes: dict[str, int] = {}
        for path in sorted(self.directory.glob(f"*{SUFFIX}")):
            sizes[path.name] = path.stat().st_size
        for path in sorted(self.directory.iterdir()):
            owner = path.name.rpartition("-")[0] + SUFFIX
            if path.name.endswith(_PAYLOAD_SUFFIX) and owner in sizes:
                sizes[owner] += path.stat().st_size
                self._payloads[owner] = (*self._payloads.get(owner, ()), path)
            elif path.name.endswith((_PAYLOAD_SUFFIX, PART_SUFFIX)):
                path.unlink()
        self._inherited.update(sizes)
        return sizes

    def _payload(self, file: str, index: int) -> Path:
        return self.directory / f"{file[: -len(SUFFIX)]}-{index}{_PAYLOAD_SUFFIX}"
