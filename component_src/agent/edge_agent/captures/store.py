# SPDX-License-Identifier: Apache-2.0
"""The files of captures on their way."""

from __future__ import annotations

import contextlib
import logging
import re
from typing import TYPE_CHECKING

from edge_agent.captures.capture import (
    PLAN_BYTES,
    Capture,
    Encoded,
    Header,
    Payload,
    decode,
    decode_header,
    on_disk,
    unreadable,
)
from edge_agent.files import PART_SUFFIX, make_directory, write_all, write_whole

if TYPE_CHECKING:
    from pathlib import Path

_LOG = logging.getLogger(__name__)
SUFFIX = ".capture"
_NAME = re.compile(r"\d{16}\.capture")
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
        except OSError as error:
            raise unreadable(self.directory / file, error) from error
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
        try:
            with (self.directory / file).open("rb") as stream:
                line = stream.readline()
        except OSError as error:
            raise unreadable(self.directory / file, error) from error
        return decode_header(line)

    def remove(self, file: str) -> None:
        """Remove a capture, if it is there."""
        self._inherited.discard(file)
        for path in (self.directory / file, *self._payloads.pop(file, ())):
            path.unlink(missing_ok=True)

    def resume(self) -> dict[str, int]:
        """The files that an earlier process left, the oldest first, with the bytes that they take of the disk.

        Beginnings of files are removed; what is none of the spool's is left alone.
        """
        sizes: dict[str, int] = {}
        entries = sorted(path for path in self.directory.iterdir() if path.is_file() and not path.is_symlink())
        for path in entries:
            if _NAME.fullmatch(path.name):
                sizes[path.name] = PLAN_BYTES + on_disk(path.stat().st_size)
            elif path.name.endswith(SUFFIX):
                _LOG.warning("spool_file_unknown", extra={"fields": {"file": str(path)}})
        for path in entries:
            owner = path.name.rpartition("-")[0] + SUFFIX
            if path.name.endswith(_PAYLOAD_SUFFIX) and owner in sizes:
                sizes[owner] += on_disk(path.stat().st_size)
                self._payloads[owner] = (*self._payloads.get(owner, ()), path)
            elif path.name.endswith((_PAYLOAD_SUFFIX, PART_SUFFIX)):
                path.unlink()
        self._inherited.update(sizes)
        return sizes

    def _payload(self, file: str, index: int) -> Path:
        return self.directory / f"{file[: -len(SUFFIX)]}-{index}{_PAYLOAD_SUFFIX}"
