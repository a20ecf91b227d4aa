# SPDX-License-Identifier: Apache-2.0
"""Moves captures from the spool to their destination."""

from __future__ import annotations

import logging
import time
import uuid
from typing import TYPE_CHECKING, Callable

from edge_agent.captures import record
from edge_agent.captures.capture import UnreadableCaptureError
from edge_agent.captures.destinations import (
    MANIFEST_TYPE,
    Bucket,
    DeliveryError,
    Destination,
    Disk,
    File,
    make_s3_client,
)
from edge_agent.captures.plan import Member, Plan
from edge_agent.captures.room import DiskRoom
from edge_agent.captures.upload import DiskUploader
from edge_agent.captures.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from edge_agent.captures.spool import Pending, Spool
    from edge_agent.settings import Settings

_LOG = logging.getLogger(__name__)
_IDLE_SECONDS = 1.0
_UPLOADER_SECONDS = 5.0


class Pipeline:
    """Plans batches, delivers them, and uploads what is on disk if the settings say so.

    Args:
        spool: Where captures come from.
        settings: The agent's parameters; see ``configure``.
        destination: Where they go; by default what the parameters say.
        count: Takes the name of a counter and a number, see ``edge_agent.metrics``.
    """

    def __init__(
        self,
        spool: Spool,
        settings: Settings,
        *,
        destination: Destination | None = None,
        count: Callable[[str, int], None] = lambda _name, _amount: None,
    ) -> None:
        self._spool = spool
        self._settings = settings
        self._destination = destination or _destination(settings)
        self._room = _room(settings)
        self._count = count
        self._failure = ""
        self._failed = False
        self._batcher = Worker("batcher", self._batch)
        self._deliverer = Worker("deliverer", self._deliver)
        self._uploader = _uploader(settings, self._count)

    @property
    def failure(self) -> str:
        """Why the last delivery failed; empty when it did not, or when nothing waits."""
        return self._failure if self._spool.usage()[0] else ""

    def configure(self, settings: Settings) -> None:
        """Go on with other parameters; a delivery that has begun ends with the ones that it began with."""
        self._settings = settings
        self._destination = _destination(settings)
        self._room = _room(settings)
        if self._uploader is not None:
            self._uploader.stop()
            self._uploader.join(_UPLOADER_SECONDS)
        self._uploader = _uploader(settings, self._count)
        if self._uploader is not None:
            self._uploader.start()
        self._spool.wake()

    def start(self) -> None:
        """Begin, with what an earlier process left."""
        pending, batches = self._spool.backlog()
        if pending or batches:
            _LOG.info("spool_resumed", extra={"fields": {"captures": pending, "batches": batches}})
        for worker in self._workers():
            worker.start()

    def stop(self, seconds: float) -> None:
        """Deliver what is left, but not longer than so many seconds; the rest waits for the next start."""
        deadline = time.monotonic() + seconds
        for worker in self._workers():
            worker.stop()  # the batcher first: what it plans now, the deliverer still takes
            self._spool.wake()
            worker.join(deadline - time.monotonic())
        pending, batches = self._spool.backlog()
        if pending or batches:
            _LOG.warning("spool_not_empty", extra={"fields": {"captures": pending, "batches": batches}})

    def _workers(self) -> list[Worker]:
        return [self._batcher, self._deliverer, *([self._uploader] if self._uploader else [])]

    def _batch(self) -> bool:
        size = self._settings.capture_data_batch_size
        pending = self._spool.wait_for_batch(
            size=size,
            most=size * self._destination.together,
            period=self._settings.capture_data_push_period_seconds,
            flush=self._batcher.stopping,
            timeout=_IDLE_SECONDS,
        )
        self._spool.plan(self._plans(pending, size))
        return bool(pending)

    def _plans(self, pending: Sequence[Pending], size: int) -> Iterator[Plan]:
        """Plans of at most ``size`` captures, each of one model and UTC hour."""
        groups: dict[str, list[Member]] = {}
        for one in pending:
            folder = record.folder(
                prefix=self._settings.folder_prefix, fleet=self._settings.device_fleet_name, header=one.header
            )
            groups.setdefault(folder, []).append(Member(file=one.file, capture_id=one.header.capture_id))
        for folder, members in groups.items():
            for first in range(0, len(members), size):
                yield Plan(
                    id=uuid.uuid4().hex,
                    folder=folder,
                    fleet=self._settings.device_fleet_name,
                    device=self._settings.device_name,
                    embed_limit=self._settings.capture_data_base64_embed_limit,
                    members=tuple(members[first : first + size]),
                )

    def _deliver(self) -> bool:
        destination, room = self._destination, self._room
        # If something is wrong with one plan, the others still get through, each by itself.
        found = self._spool.next_plans(most=1 if self._failed else destination.together, timeout=_IDLE_SECONDS)
        if not found:
            return False
        batches = {file: _Batch(self._spool, plan, destination) for file, plan in found.items()}
        try:
            side_files: Iterable[File] = (file for batch in batches.values() for file in batch.side_files())
            if room is not None:
                # For all of it at once: files without their manifest would take the room, and nobody would remove them.
                side_files = list(side_files)
                room.reserve([*side_files, *(file for batch in batches.values() for file in batch.manifest())])
            destination.put(side_files)
            # Last: whoever finds a manifest finds everything that it refers to.
            destination.put(file for batch in batches.values() for file in batch.manifest())
            self._spool.finish({file: batch.lost for file, batch in batches.items()})
        except Exception as error:
            self._failed = True
            self._spool.postpone(found)
            if isinstance(error, DeliveryError):
                self._failure = str(error)
                self._count("deliveries_failed", 1)
            raise
        self._failed = False
        self._failure = ""
        for file, plan in found.items():
            fields = {"key": plan.key, "captures": len(plan.members) - len(batches[file].lost)}
            _LOG.info("captures_delivered", extra={"fields": fields})
        return True


class _Batch:
    """The captures of a plan on their way to a destination."""

    def __init__(self, spool: Spool, plan: Plan, destination: Destination) -> None:
        self._spool = spool
        self._plan = plan
        self._reference = destination.reference
        self._lines: list[bytes] = []
        self.lost: list[str] = []

    def side_files(self) -> Iterator[File]:
        """The files beside the manifest, read as they are asked for."""
        for position, member in enumerate(self._plan.members):
            try:
                capture = self._spool.read(member.file)
            except UnreadableCaptureError as error:
                fields = {"capture_id": member.capture_id, "file": member.file, "error": str(error)}
                _LOG.error("capture_lost", extra={"fields": fields})  # the message says it all
                self.lost.append(member.capture_id)
                continue
            line, side_files = record.render(capture, self._plan, position=position, reference=self._reference)
            yield from side_files
            self._lines.append(line)

    def manifest(self) -> Iterator[File]:
        """The manifest, after the side files; none when nothing is left that it could tell of."""
        if self._lines:
            yield File(self._plan.key, b"".join(self._lines), MANIFEST_TYPE)


def _destination(settings: Settings) -> Destination:
    if settings.capture_data_destination == "Disk":
        return Disk(settings.capture_data_disk_path)
    return _bucket(settings)


def _room(settings: Settings) -> DiskRoom | None:
    if settings.capture_data_destination != "Disk" or not settings.capture_data_disk_max_bytes:
        return None
    return DiskRoom(
        settings.capture_data_disk_path, settings.capture_data_disk_folder, settings.capture_data_disk_max_bytes
    )


def _bucket(settings: Settings) -> Bucket:
    return Bucket(settings.bucket_name, make_client=lambda: make_s3_client(settings))


def _uploader(settings: Settings, count: Callable[[str, int], None]) -> Worker | None:
    if not settings.capture_data_periodic_upload:
        return None
    return DiskUploader(settings.capture_data_disk_path, _bucket(settings), settings, count=count).worker
