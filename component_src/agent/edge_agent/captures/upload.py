# SPDX-License-Identifier: Apache-2.0
"""Uploads captures that the destination ``Disk`` left on disk, and removes them there."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.captures.destinations import MANIFEST_TYPE, File
from edge_agent.captures.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_agent.captures.destinations import Destination
    from edge_agent.settings import Settings

_LOG = logging.getLogger(__name__)
_SCHEME = "file://"
_EMPTY_SECONDS = 2 * 3600.0


class DiskUploader:
    """Takes over one manifest after the other, with the files that it refers to; their keys are their paths.

    Args:
        root: The disk path.
        bucket: Where the files go.
        settings: The agent's parameters.
    """

    def __init__(self, root: Path, bucket: Destination, settings: Settings) -> None:
        self._root = root
        self._bucket = bucket
        self._folder = root / settings.folder_prefix / settings.device_fleet_name
        self._period = settings.capture_data_periodic_upload_period_seconds
        self._due = time.monotonic() + self._period
        self.worker = Worker("uploader", self._step)

    def _step(self) -> bool:
        if self.worker.stopping.wait(max(self._due - time.monotonic(), 0.0)):
            return False
        for manifest in self._tidied():
            self._upload_if_readable(manifest)
        self._due = time.monotonic() + self._period
        return True

    def _tidied(self) -> list[Path]:
        """The manifests in their order; folders of hours whose files are all gone are removed on the way."""
        manifests: list[Path] = []
        for name, _, files in os.walk(self._folder, topdown=False):
            folder = Path(name)
            manifests.extend(folder / file for file in files if file.endswith(".jsonl"))
            with contextlib.suppress(OSError):  # not empty, as most are
                # Not one of this hour, to which the next capture may be under way.
                if folder != self._folder and time.time() - folder.stat().st_mtime > _EMPTY_SECONDS:
                    folder.rmdir()
        return sorted(manifests)

    def _upload_if_readable(self, manifest: Path) -> None:
        try:
            self.upload(manifest)
        except (ValueError, AttributeError, TypeError) as error:
            # Not ours, or edited: it stays where it is, and the others go on.
            fields = {"manifest": str(manifest), "error": str(error)}
            _LOG.warning("manifest_unreadable", extra={"fields": fields})

    def upload(self, manifest: Path) -> None:
        """Upload a manifest after its files, then remove all of them; to be repeated whole when it was cut off."""
        records = [json.loads(line) for line in manifest.read_bytes().splitlines()]
        side_files = []
        for item in self._references(records):
            path = self._root / item["data-ref"][len(_SCHEME) :]
            if not path.resolve().is_relative_to(self._root.resolve()):
                # It would be uploaded and removed with the agent's rights, which are not those of whoever wrote it.
                raise ValueError(f"expected files below {self._root}, got {path}")
            key = self._key(path)
            side_files.append(path)
            item["data-ref"] = self._bucket.reference(key)
            if not path.exists():
                # They are removed only after the manifest arrived, so this one arrived before a crash, or was taken.
                _LOG.warning("side_file_missing", extra={"fields": {"file": str(path), "manifest": str(manifest)}})
                continue
            self._bucket.put([File(key, path)])
        lines = [json.dumps(one, sort_keys=True, separators=(",", ":")).encode() + b"\n" for one in records]
        self._bucket.put([File(self._key(manifest), b"".join(lines), MANIFEST_TYPE)])
        for path in [*side_files, manifest]:  # the manifest last, it leads to the others
            path.unlink(missing_ok=True)
        fields = {"key": self._key(manifest), "captures": len(records)}
        _LOG.info("captures_uploaded", extra={"fields": fields})

    def _key(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()

    def _references(self, records: list[dict[str, list[dict[str, str]]]]) -> Iterator[dict[str, str]]:
        for one in records:
            for kind, items in one.items():
                if not kind.startswith("deviceFleet"):
                    continue
                for item in items:
                    if item.get("data-ref", "").startswith(f"{_SCHEME}{self._root}/"):
                        yield item
