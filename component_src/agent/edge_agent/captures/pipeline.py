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
from edge_agent.captures.upload import DiskUploader
from edge_agent.captures.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
        self._count = count
        self._failure = ""
        self._batcher = Worker("batcher", self._batch)
        self._deliverer = Worker("deliverer", self._deliver)
        self._uploader = _uploader(settings)

    @property
    def failure(self) -> str:
        """Why the last delivery failed; empty when it did not, or when nothing waits."""
        return self._failure if self._spool.usage()[0] else ""

    def configure(self, settings: Settings) -> None:
        """Go on with other parameters; a delivery that has begun ends with the ones that it began with."""
        self._settings = settings
        self._destination = _destination(settings)
        if self._uploader is not None:
            self._uploader.stop()
            self._uploader.join(_UPLOADER_SECONDS)
        self._uploader = _uploader(settings)
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
        pending = self._spool.wait_for_batch(
            size=self._settings.capture_data_batch_size,
            period=self._settings.capture_data_push_period_seconds,
            flush=self._batcher.stopping,
            timeout=_IDLE_SECONDS,
        )
        for plan in self._plans(pending):
            self._spool.plan(plan)
        return bool(pending)

    def _plans(self, pending: Sequence[Pending]) -> Iterator[Plan]:
        """One plan for each model and UTC hour among the captures."""
        groups: dict[str, list[Member]] = {}
        for one in pending:
            folder = record.folder(
                prefix=self._settings.folder_prefix, fleet=self._settings.device_fleet_name, header=one.header
            )
            groups.setdefault(folder, []).append(Member(file=one.file, capture_id=one.header.capture_id))
        for folder, members in groups.items():
            yield Plan(
                id=uuid.uuid4().hex,
                folder=folder,
                fleet=self._settings.device_fleet_name,
                device=self._settings.device_name,
                embed_limit=self._settings.capture_data_base64_embed_limit,
                members=tuple(members),
            )

    def _deliver(self) -> bool:
        found = self._spool.next_plan(timeout=_IDLE_SECONDS)
        if found is None:
            return False
        file, plan = found
        batch = _Batch(self._spool, plan, self._destination)
        try:
            batch.put()
            self._spool.finish(file, lost=batch.lost)
        except Exception as error:
            self._spool.postpone(file)  # if something is wrong with this one, the others still get through
            if isinstance(error, DeliveryError):
                self._failure = str(error)
                self._count("deliveries_failed", 1)
            raise
        self._failure = ""
        fields = {"key": plan.key, "captures": len(plan.members) - len(batch.lost)}
        _LOG.info("captures_delivered", extra={"fields": fields})
        return True


class _Batch:
    """The captures of a plan on their way to a destination, one in memory at a time."""

    def __init__(self, spool: Spool, plan: Plan, destination: Destination) -> None:
        self._spool = spool
        self._plan = plan
        self._destination = destination
        self._lines: list[bytes] = []
        self.lost: list[str] = []

    def put(self) -> None:
        self._destination.put(self._side_files())
        # Last: whoever finds a manifest finds everything that it refers to.
        if self._lines:
            self._destination.put([File(self._plan.key, b"".join(self._lines), MANIFEST_TYPE)])

    def _side_files(self) -> Iterator[File]:
        for position, member in enumerate(self._plan.members):
            try:
                capture = self._spool.read(member.file)
            except UnreadableCaptureError as error:
                fields = {"capture_id": member.capture_id, "file": member.file, "error": str(error)}
                _LOG.error("capture_lost", extra={"fields": fields})  # the message says it all
                self.lost.append(member.capture_id)
                continue
            reference = self._destination.reference
            line, side_files = record.render(capture, self._plan, position=position, reference=reference)
            yield from side_files
            self._lines.append(line)


def _destination(settings: Settings) -> Destination:
    if settings.capture_data_destination == "Disk":
        return Disk(settings.capture_data_disk_path)
    return _bucket(settings)


def _bucket(settings: Settings) -> Bucket:
    return Bucket(settings.bucket_name, make_client=lambda: make_s3_client(settings))


def _uploader(settings: Settings) -> Worker | None:
    if not settings.capture_data_periodic_upload:
        return None
    return DiskUploader(settings.capture_data_disk_path, _bucket(settings), settings).worker
