# SPDX-License-Identifier: Apache-2.0
"""Moves captures from the spool to their destination."""

from __future__ import annotations

import logging
import time
import uuid
from typing import TYPE_CHECKING

from edge_agent.captures import record
from edge_agent.captures.capture import UnreadableCaptureError
from edge_agent.captures.destinations import MANIFEST_TYPE, SIDE_FILE_TYPE, Bucket, Destination, Disk
from edge_agent.captures.plan import Member, Plan
from edge_agent.captures.upload import DiskUploader
from edge_agent.captures.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edge_agent.captures.spool import Pending, Spool
    from edge_agent.settings import Settings

_LOG = logging.getLogger(__name__)
_IDLE_SECONDS = 1.0


class Pipeline:
    """Plans batches, delivers them, and uploads what is on disk if the settings say so.

    Args:
        spool: Where captures come from.
        settings: The agent's parameters.
        destination: Where they go; by default what the parameters say.
    """

    def __init__(self, spool: Spool, settings: Settings, *, destination: Destination | None = None) -> None:
        self._spool = spool
        self._settings = settings
        self._destination = destination or _destination(settings)
        self._batcher = Worker("batcher", self._batch)
        self._deliverer = Worker("deliverer", self._deliver)
        self._workers = [self._batcher, self._deliverer]
        if settings.capture_data_periodic_upload:
            uploader = DiskUploader(settings.capture_data_disk_path, Bucket(settings.bucket_name), settings)
            self._workers.append(uploader.worker)

    def start(self) -> None:
        """Begin, with what an earlier process left."""
        pending, batches = self._spool.backlog()
        if pending or batches:
            _LOG.info("spool_resumed", extra={"fields": {"captures": pending, "batches": batches}})
        for worker in self._workers:
            worker.start()

    def stop(self, seconds: float) -> None:
        """Deliver what is left, but not longer than so many seconds; the rest waits for the next start."""
        deadline = time.monotonic() + seconds
        for worker in (self._batcher, self._deliverer, *self._workers[2:]):
            worker.stop()  # the batcher first: what it plans now, the deliverer still takes
            self._spool.wake()
            worker.join(deadline - time.monotonic())
        pending, batches = self._spool.backlog()
        if pending or batches:
            _LOG.warning("spool_not_empty", extra={"fields": {"captures": pending, "batches": batches}})

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
        try:
            lost = self._put(plan)
        except Exception:
            self._spool.postpone(file)  # if something is wrong with this one, the others still get through
            raise
        self._spool.finish(file, lost=lost)
        fields = {"key": plan.key, "captures": len(plan.members) - len(lost)}
        _LOG.info("captures_delivered", extra={"fields": fields})
        return True

    def _put(self, plan: Plan) -> list[str]:
        lines, lost = [], []
        for position, member in enumerate(plan.members):
            try:
                capture = self._spool.read(member.file)
            except UnreadableCaptureError as error:
                fields = {"capture_id": member.capture_id, "file": member.file, "error": str(error)}
                _LOG.error("capture_lost", extra={"fields": fields})  # the message says it all
                lost.append(member.capture_id)
                continue
            line, side_files = record.render(capture, plan, position=position, reference=self._destination.reference)
            for side_file in side_files:
                self._destination.put(side_file.key, side_file.data, content_type=SIDE_FILE_TYPE)
            lines.append(line)
        # Last: whoever finds a manifest finds everything that it refers to.
        if lines:
            self._destination.put(plan.key, b"".join(lines), content_type=MANIFEST_TYPE)
        return lost


def _destination(settings: Settings) -> Destination:
    if settings.capture_data_destination == "Disk":
        return Disk(settings.capture_data_disk_path)
    return Bucket(settings.bucket_name)
