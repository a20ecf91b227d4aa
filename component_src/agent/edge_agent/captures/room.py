# SPDX-License-Identifier: Apache-2.0
"""What captures may take of the device's disk when they are delivered there."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.captures.destinations import DeliveryError, File, NoRoomError
from edge_agent.files import PART_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_WALK_SECONDS = 5.0


class DiskRoom:
    """Bounds the bytes of a fleet's captures on disk; for one thread.

    The count grows with what is delivered, and is never less than that. Only when it passes the bound are the files
    looked at again, as an upload, or a person, may have removed some.

    Args:
        root: The disk path, to which keys are relative.
        folders: Whose files are counted; they may be missing, or below one another.
        max_bytes: How many bytes they may have.
    """

    def __init__(self, root: Path, folders: Iterable[Path], max_bytes: int) -> None:
        self._root = root
        paths = set(folders)
        self._folders = sorted(path for path in paths if not paths.intersection(path.parents))
        self._max_bytes = max_bytes
        self._used = 0
        self._walked: float | None = None

    def reserve(self, files: Sequence[File]) -> None:
        """Count files that are about to be written; those that are there already are replaced, not added.

        Raises:
            NoRoomError: With all of them the bound would be passed; nothing is counted.
            DeliveryError: One of them cannot be read.
        """
        try:
            size = sum(len(one.data) if isinstance(one.data, bytes) else one.data.stat().st_size for one in files)
        except OSError as error:
            raise DeliveryError(f"{self._root}: {error}") from error
        paths = [self._root / one.key for one in files]
        more = size - sum(_size(path) + _size(path.with_name(path.name + PART_SUFFIX)) for path in paths)
        now = time.monotonic()
        full = self._used + more > self._max_bytes
        if self._walked is None or (full and now - self._walked >= _WALK_SECONDS):
            self._used, self._walked = sum(map(bytes_below, self._folders)), now
        if more > 0 and self._used + more > self._max_bytes:
            raise NoRoomError(
                f"{', '.join(map(str, self._folders))}: expected room for {more} bytes of captures, {self._used} of "
                f"{self._max_bytes} (CaptureDataDiskMaxBytes) are in use; captures wait in the spool until files are "
                "uploaded or removed, or the bound is raised"
            )
        self._used += more


def bytes_below(folder: Path) -> int:
    """Bytes of the files of a folder and those below it; 0 when there is none."""
    # A folder that cannot be read is none of the agent's, or was removed just now.
    return sum(_size(Path(name) / file) for name, _, files in os.walk(folder) for file in files)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:  # it is not there, or not any more
        return 0
