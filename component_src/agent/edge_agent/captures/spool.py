# SPDX-License-Identifier: Apache-2.0
"""The folders of the spool, and what is remembered about them; see the package's description."""

from __future__ import annotations

import collections
import enum
import errno
import logging
import threading
import time
from typing import TYPE_CHECKING

from edge_agent.captures.capture import Capture, Header, UnreadableCaptureError, decode, decode_header, encode
from edge_agent.captures.plan import Plan
from edge_agent.errors import AlreadyExistsError, NotFoundError, ResourceExhaustedError
from edge_agent.files import PART_SUFFIX, make_directory, sync_directory, write_durably

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_LOG = logging.getLogger(__name__)
_FULL = {errno.ENOSPC, errno.EDQUOT}


class Status(enum.Enum):
    """How far a capture has come."""

    IN_PROGRESS = "in progress"
    SUCCESS = "arrived"
    FAILURE = "lost"


class Pending:
    """A capture in the spool that no plan names yet; ``since`` is monotonic seconds."""

    def __init__(self, file: str, header: Header, since: float) -> None:
        self.file = file
        self.header = header
        self.since = since


class Spool:
    """Keeps captures and plans on disk; safe to use from several threads.

    Args:
        root: The spool's directory; only one process at a time may use it.
        max_pending: How many captures may wait for a plan.
        max_bytes: How many bytes of captures may be in the spool.
        max_history: How many finished ids are remembered.
    """

    def __init__(self, root: Path, *, max_pending: int, max_bytes: int, max_history: int) -> None:
        self._pending_dir, self._batches_dir, self._done_dir = (root / name for name in ("pending", "batches", "done"))
        self._max_pending = max_pending
        self._max_bytes = max_bytes
        self._max_history = max_history
        self._changed = threading.Condition()
        self._sequence = 0
        self._bytes = 0
        self._sizes: dict[str, int] = {}  # of the files in pending/
        self._in_progress: set[str] = set()
        self._accepting = 0  # captures being written: they count for the bounds before they are listed
        self._pending: collections.OrderedDict[str, Pending] = collections.OrderedDict()
        self._plans: collections.OrderedDict[str, Plan] = collections.OrderedDict()  # by file name
        self._done: collections.OrderedDict[str, Plan] = collections.OrderedDict()
        self._finished: dict[str, Status] = {}  # the captures of the plans in done/
        for directory in (self._pending_dir, self._batches_dir, self._done_dir):
            make_directory(directory)
        self._resume()

    # --- captures ---------------------------------------------------------------------------------------------------
    def add(self, capture: Capture) -> None:
        """Keep a capture; when this returns, it survives a crash.

        Raises:
            AlreadyExistsError: Its id is known.
            ResourceExhaustedError: The buffer, the spool or the disk is full.
        """
        content = encode(capture)
        capture_id = capture.header.capture_id
        with self._changed:
            self._check_room(capture_id, len(content))
            file = f"{self._next():016d}.capture"
            self._in_progress.add(capture_id)
            self._bytes += len(content)
            self._accepting += 1
        try:
            write_durably(self._pending_dir / file, content)
        except BaseException as error:
            with self._changed:
                self._accepting -= 1
                self._in_progress.discard(capture_id)
                self._bytes -= len(content)
            if isinstance(error, OSError) and error.errno in _FULL:
                raise ResourceExhaustedError(
                    f"capture {capture_id!r}: the disk of {self._pending_dir} is full"
                ) from error
            raise
        with self._changed:
            self._accepting -= 1
            self._sizes[file] = len(content)
            self._pending[file] = Pending(file, capture.header, time.monotonic())
            self._changed.notify_all()

    def read(self, file: str) -> Capture:
        """Read a capture of the spool.

        Raises:
            UnreadableCaptureError: The file is damaged or gone.
        """
        try:
            return decode((self._pending_dir / file).read_bytes())
        except FileNotFoundError:
            raise UnreadableCaptureError("the file is gone") from None

    def status(self, capture_id: str) -> Status:
        """Tell how far a capture has come.

        Raises:
            NotFoundError: The id is unknown or forgotten.
        """
        with self._changed:
            status = self._status(capture_id)
        if status is None:
            raise NotFoundError(f"capture {capture_id!r:.300}: never accepted, or finished long ago and forgotten")
        return status

    # --- batches ----------------------------------------------------------------------------------------------------
    def wait_for_batch(self, *, size: int, period: float, flush: threading.Event, timeout: float) -> list[Pending]:
        """Wait until ``size`` captures are pending, or the oldest waited ``period`` seconds, or ``flush`` is set.

        Returns:
            The oldest captures, ``size`` at most; none after ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                now = time.monotonic()
                oldest = next(iter(self._pending.values()), None)
                if oldest is not None and (
                    len(self._pending) >= size or now >= oldest.since + period or flush.is_set()
                ):
                    return list(self._pending.values())[:size]
                until = deadline if oldest is None else min(deadline, oldest.since + period)
                if now >= deadline or (flush.is_set() and oldest is None):
                    return []
                self._changed.wait(max(until - now, 0.0))

    def plan(self, plan: Plan) -> None:
        """Decide a batch of pending captures for good."""
        with self._changed:
            file = f"{self._next():016d}-{plan.id}.json"
        write_durably(self._batches_dir / file, plan.encode())
        with self._changed:
            for member in plan.members:
                del self._pending[member.file]
            self._plans[file] = plan
            self._changed.notify_all()

    def next_plan(self, *, timeout: float) -> tuple[str, Plan] | None:
        """Wait for a plan that is to be delivered: its file name and itself."""
        with self._changed:
            if not self._plans:
                self._changed.wait(timeout)
            return next(iter(self._plans.items()), None)

    def postpone(self, file: str) -> None:
        """Let the other plans go first."""
        with self._changed:
            self._plans.move_to_end(file)

    def finish(self, file: str, *, lost: Iterable[str] = ()) -> None:
        """Close a plan after everything that it names arrived, but for the ids in ``lost``."""
        (self._batches_dir / file).rename(self._done_dir / file)
        # After a power cut between the two the plan may stand in both folders, never in none.
        sync_directory(self._done_dir)
        sync_directory(self._batches_dir)
        with self._changed:
            plan = self._plans.pop(file)
            self._done[file] = plan
            for member in plan.members:
                self._in_progress.discard(member.capture_id)
                self._finished[member.capture_id] = Status.SUCCESS
            self._finished.update(dict.fromkeys(lost, Status.FAILURE))
        self._remove_members(plan)
        self._forget()

    def wake(self) -> None:
        """Let whoever waits look again."""
        with self._changed:
            self._changed.notify_all()

    def backlog(self) -> tuple[int, int]:
        """How many captures wait for a batch, and how many batches for their delivery."""
        with self._changed:
            return len(self._pending), len(self._plans)

    # --- inside -----------------------------------------------------------------------------------------------------
    def _check_room(self, capture_id: str, size: int) -> None:
        if self._status(capture_id) is not None:
            raise AlreadyExistsError(f"capture {capture_id!r}: a capture with this id was accepted before")
        if len(self._pending) + self._accepting >= self._max_pending:
            raise ResourceExhaustedError(
                f"capture {capture_id!r}: expected fewer than {self._max_pending} captures in the buffer "
                "(CaptureDataBufferSize), it is full; capture again in a moment"
            )
        if self._bytes + size > self._max_bytes:
            raise ResourceExhaustedError(
                f"capture {capture_id!r}: expected room for {size} bytes in the spool, {self._bytes} of "
                f"{self._max_bytes} (CaptureSpoolMaxBytes) are in use; is the destination reachable?"
            )

    def _status(self, capture_id: str) -> Status | None:
        if capture_id in self._in_progress:
            return Status.IN_PROGRESS
        return self._finished.get(capture_id)

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    def _remove_members(self, plan: Plan) -> None:
        for member in plan.members:
            (self._pending_dir / member.file).unlink(missing_ok=True)
            with self._changed:
                self._bytes -= self._sizes.pop(member.file, 0)

    def _forget(self) -> None:
        with self._changed:
            total = sum(len(plan.members) for plan in self._done.values())
            forgotten = []
            while total > self._max_history and len(self._done) > 1:
                file, plan = self._done.popitem(last=False)
                total -= len(plan.members)
                forgotten.append(file)
                for member in plan.members:
                    self._finished.pop(member.capture_id, None)
        for file in forgotten:
            (self._done_dir / file).unlink(missing_ok=True)

    def _resume(self) -> None:
        for part in [*self._pending_dir.glob(f"*{PART_SUFFIX}"), *self._batches_dir.glob(f"*{PART_SUFFIX}")]:
            part.unlink()
        self._done.update(self._read_plans(self._done_dir))
        for plan in self._done.values():  # a crash may have come between the rename and the removal
            self._remove_members(plan)
            self._finished.update((member.capture_id, Status.SUCCESS) for member in plan.members)
        for file, plan in self._read_plans(self._batches_dir).items():
            if file in self._done:
                (self._batches_dir / file).unlink()
            else:
                self._plans[file] = plan
        planned = {member.file for plan in self._plans.values() for member in plan.members}
        self._in_progress.update(member.capture_id for plan in self._plans.values() for member in plan.members)
        for path in sorted(self._pending_dir.glob("*.capture")):
            self._sequence = max(self._sequence, int(path.stem))
            self._sizes[path.name] = path.stat().st_size
            self._bytes += self._sizes[path.name]
            if path.name not in planned:
                self._resume_capture(path)

    def _resume_capture(self, path: Path) -> None:
        try:
            with path.open("rb") as stream:
                header = decode_header(stream.readline())
        except UnreadableCaptureError as error:
            # Files appear whole, so the disk itself is at fault; nothing can bring the capture back.
            _LOG.error("capture_lost", extra={"fields": {"file": path.name, "error": str(error)}})
            path.unlink()
            self._bytes -= self._sizes.pop(path.name)
            return
        self._pending[path.name] = Pending(path.name, header, time.monotonic())
        self._in_progress.add(header.capture_id)

    def _read_plans(self, directory: Path) -> dict[str, Plan]:
        plans = {}
        for path in sorted(directory.glob("*.json")):
            self._sequence = max(self._sequence, int(path.name.split("-")[0]))
            try:
                plans[path.name] = Plan.decode(path.read_bytes())
            except ValueError as error:
                # Its captures become pending again: better to arrive twice than never.
                _LOG.error("batch_plan_unreadable", extra={"fields": {"file": path.name, "error": str(error)}})
                path.unlink()
        for plan in plans.values():
            for member in plan.members:
                self._sequence = max(self._sequence, int(member.file.split(".")[0]))
        return plans
