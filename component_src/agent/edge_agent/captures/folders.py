# SPDX-License-Identifier: Apache-2.0
"""Which folders of the disk hold captures: also those that former parameters named."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.files import write_durably

if TYPE_CHECKING:
    from edge_agent.settings import Settings

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class DiskFolder:
    """A folder of captures.

    Attributes:
        root: The disk path, to which keys are relative.
        name: The folder below it: the prefix and the fleet.
    """

    root: Path
    name: str

    @property
    def path(self) -> Path:
        """The folder itself."""
        return self.root / self.name


class DiskFolders:
    """Remembers the folders that captures were delivered to, until they are gone; for one thread.

    Captures there were acknowledged: they are uploaded, and count for the bound, whatever the parameters are now.

    Args:
        file: Where they are remembered.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known = self._read()

    def use(self, settings: Settings) -> tuple[DiskFolder, ...]:
        """Remember the folder that captures are delivered to from now on; it is the first of all that are known."""
        root = settings.capture_data_disk_path
        current = DiskFolder(root, str(settings.capture_data_disk_folder.relative_to(root)))
        former = [folder for folder in self._known if folder != current and folder.path.is_dir()]
        known = (current, *former)
        if known != self._known:
            self._known = known
            try:
                write_durably(self._file, json.dumps([[str(one.root), one.name] for one in known]).encode())
            except OSError as error:
                _LOG.warning("disk_folders_not_saved", extra={"fields": {"file": str(self._file), "error": str(error)}})
        return known

    def _read(self) -> tuple[DiskFolder, ...]:
        try:
            return tuple(DiskFolder(Path(root), str(name)) for root, name in json.loads(self._file.read_bytes()))
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, TypeError) as error:
            _LOG.warning("disk_folders_unreadable", extra={"fields": {"file": str(self._file), "error": str(error)}})
            return ()
