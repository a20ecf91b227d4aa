# SPDX-License-Identifier: Apache-2.0
"""Uploads captures that the destination ``Disk`` left on disk, and removes them there."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from edge_agent.captures.destinations import MANIFEST_TYPE, File
from edge_agent.captures.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_agent.captures.destinations import Destination
    from edge_agent.settings import Settings

_LOG = logging.getLogger(__name__)
_SCHEME = "file://"
_EMPTY_SECONDS = 2 * 3600.0
_CHUNK = 1 << 20


class _UnreadableError(Exception):
    """A manifest, or a file that it refers to, is there but cannot be read."""


class DiskUploader:
    """Takes over one manifest after the other, with the files that it refers to; their keys are their paths.

    Args:
        root: The disk path.
        bucket: Where the files go.
        settings: The agent's parameters.
        count: Takes the name of a counter and a number, see ``edge_agent.metrics``.
    """

    def __init__(
        self,
        root: Path,
        bucket: Destination,
        settings: Settings,
        *,
        count: Callable[[str, int], None] = lambda _name, _amount: None,
    ) -> None:
        self._root = root
        self._count = count
        self._set_aside: set[Path] = set()
        self._bucket = bucket
        self._folder = settings.capture_data_disk_folder
        self._period = settings.capture_data_periodic_upload_period_seconds
        self._due = time.monotonic() + self._period
        self.worker = Worker("uploader", self._step)

    def _step(self) -> bool:
        if self.worker.stopping.wait(max(self._due - time.monotonic(), 0.0)):
            return False
        manifests = self._tidied()
        self._set_aside.intersection_update(manifests)
        for manifest in manifests:
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
        except (_UnreadableError, ValueError, AttributeError, TypeError) as error:
            # Not ours, edited, or on a bad disk: it stays where it is with all its files and is tried again in the next
            # period; the others go on. It is told and counted once.
            if manifest not in self._set_aside:
                self._set_aside.add(manifest)
                self._count("uploads_set_aside", 1)
                fields = {"manifest": str(manifest), "error": str(error)}
                _LOG.warning("upload_set_aside", extra={"fields": fields})
        else:
            self._set_aside.discard(manifest)

    def upload(self, manifest: Path) -> None:
        """Upload a manifest after its files, then remove all of them; to be repeated whole when it was cut off."""
        try:
            content = manifest.read_bytes()
        except OSError as error:
            raise _UnreadableError(f"{manifest}: {error.strerror}") from error
        records = [json.loads(line) for line in content.splitlines()]
        side_files, present = [], []
        for item in self._references(records):
            path = self._root / item["data-ref"][len(_SCHEME) :]
            if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self._root)):
                # It would be uploaded and removed with the agent's rights, which are not those of whoever wrote it.
                raise ValueError(f"expected files below {self._root}, got {path}")
            key = self._key(path)
            side_files.append(path)
            item["data-ref"] = self._bucket.reference(key)
            if _readable(path):
                present.append(File(key, path))
            else:
                # They are removed only after the manifest arrived, so this one arrived before a crash, or was taken.
                _LOG.warning("side_file_missing", extra={"fields": {"file": str(path), "manifest": str(manifest)}})
        for file in present:  # now that all of them can be read
            self._bucket.put([file])
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


def _readable(path: Path) -> bool:
    """Read a file to its end, which a bad disk may refuse only there; false when it is not there."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe would wait
            raise _UnreadableError(f"{path}: expected a regular file")
        with path.open("rb", buffering=0) as stream:
            while stream.read(_CHUNK):
                pass
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _UnreadableError(f"{path}: {error.strerror}") from error
    return True
