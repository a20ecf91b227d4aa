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

from edge_agent.captures.destinations import MANIFEST_TYPE, DeliveryError, File
from edge_agent.captures.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edge_agent.captures.destinations import Destination
    from edge_agent.captures.folders import DiskFolder

_LOG = logging.getLogger(__name__)
_SCHEME = "file://"
_EMPTY_SECONDS = 2 * 3600.0
_CHUNK = 1 << 20
_MOST_REFUSED = 3  # in one pass: more is the network, or the bucket


class _UnreadableError(Exception):
    """A manifest, or a file that it refers to, is there but cannot be read."""


class DiskUploader:
    """Takes over one manifest after the other, with the files that it refers to; their keys are their paths.

    Args:
        folders: Where the manifests are.
        bucket: Where the files go.
        period: Seconds between two passes.
        count: Takes the name of a counter and a number, see ``edge_agent.metrics``.
    """

    def __init__(
        self,
        folders: Sequence[DiskFolder],
        bucket: Destination,
        *,
        period: float,
        count: Callable[[str, int], None] = lambda _name, _amount: None,
    ) -> None:
        self._folders = folders
        self._count = count
        self._set_aside: set[Path] = set()
        self._refused: set[Path] = set()  # by the bucket, when it was asked last
        self._bucket = bucket
        self._period = period
        self._due = time.monotonic() + self._period
        self.worker = Worker("uploader", self._step)

    def _step(self) -> bool:
        if self.worker.stopping.wait(max(self._due - time.monotonic(), 0.0)):
            return False
        manifests = self._tidied()
        self._set_aside.intersection_update(manifests)
        self._refused.intersection_update(manifests)
        refused: list[DeliveryError] = []
        # Those that were refused before come last: none may hold up the others, whatever is wrong with it.
        for manifest in sorted(manifests, key=lambda path: (path in self._refused, path)):
            if self.worker.stopping.is_set():
                return False
            try:
                self._upload_if_readable(manifest, manifests[manifest])
                self._refused.discard(manifest)
            except DeliveryError as error:
                self._refused.add(manifest)
                refused.append(error)
                if len(refused) == _MOST_REFUSED:
                    break
        if refused:
            raise refused[0]
        self._due = time.monotonic() + self._period
        return True

    def _tidied(self) -> dict[Path, Path]:
        """The manifests with their roots; folders of hours whose files are all gone are removed on the way."""
        manifests: dict[Path, Path] = {}
        kept = {one.path for one in self._folders}
        for one in self._folders:
            for name, _, files in os.walk(one.path, topdown=False):
                folder = Path(name)
                manifests.update((folder / file, one.root) for file in files if file.endswith(".jsonl"))
                with contextlib.suppress(OSError):  # not empty, as most are
                    # Not one of this hour, to which the next capture may be under way.
                    if folder not in kept and time.time() - folder.stat().st_mtime > _EMPTY_SECONDS:
                        folder.rmdir()
        return manifests

    def _upload_if_readable(self, manifest: Path, root: Path) -> None:
        try:
            self.upload(manifest, root)
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

    def upload(self, manifest: Path, root: Path) -> None:
        """Upload a manifest after its files, then remove all of them; to be repeated whole when it was cut off."""
        try:
            content = manifest.read_bytes()
        except OSError as error:
            raise _UnreadableError(f"{manifest}: {error.strerror}") from error
        records = [json.loads(line) for line in content.splitlines()]
        side_files, present = [], []
        for item in _references(records, root):
            path = root / item["data-ref"][len(_SCHEME) :]
            if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
                # It would be uploaded and removed with the agent's rights, which are not those of whoever wrote it.
                raise ValueError(f"expected files below {root}, got {path}")
            key = path.relative_to(root).as_posix()
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
        key = manifest.relative_to(root).as_posix()
        self._bucket.put([File(key, b"".join(lines), MANIFEST_TYPE)])
        for path in [*side_files, manifest]:  # the manifest last, it leads to the others
            path.unlink(missing_ok=True)
        fields = {"key": key, "captures": len(records)}
        _LOG.info("captures_uploaded", extra={"fields": fields})


def _references(records: list[dict[str, list[dict[str, str]]]], root: Path) -> Iterator[dict[str, str]]:
    for one in records:
        for kind, items in one.items():
            if not kind.startswith("deviceFleet"):
                continue
            for item in items:
                if item.get("data-ref", "").startswith(f"{_SCHEME}{root}/"):
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
