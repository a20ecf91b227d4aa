# SPDX-License-Identifier: Apache-2.0
"""The folders of the spool, and what is remembered about them; see the package's description."""

from __future__ import annotations

import collections
import dataclasses
import errno
import logging
import threading
import time
import uuid
from typing import TYPE_CHECKING, Callable

from edge_agent.captures.capture import Capture, Header, UnreadableCaptureError, decode, decode_header, encode
from edge_agent.captures.history import History, Status, read_plans
from edge_agent.captures.plan import Member, Plan
from edge_agent.errors import AlreadyExistsError, NotFoundError, ResourceExhaustedError
from edge_agent.files import PART_SUFFIX, make_directory, sync_directory, write_durably, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_LOG = logging.getLogger(__name__)
_FULL = {errno.ENOSPC, errno.EDQUOT}
_DIGITS = 16


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
        drop_oldest: Whether the oldest captures are given up for a new one when there is no room.
        count: Takes the name of a counter and a number, see ``edge_agent.metrics``.
    """

    def __init__(
        self,
        root: Path,
        *,
        max_pending: int,
        max_bytes: int,
        max_history: int,
        drop_oldest: bool = False,
        count: Callable[[str, int], None] = lambda _name, _amount: None,
    ) -> None:
        self._pending_dir, self._batches_dir = root / "pending", root / "batches"
        self._history = History(root / "done", max_captures=max_history)
        self._max_pending = max_pending
        self._max_bytes = max_bytes
        self._drop_oldest = drop_oldest
        self._count = count
        self._changed = threading.Condition()
        self._sequence = 0
        self._bytes = 0
        self._sizes: dict[str, int] = {}  # of the files in pending/
        self._in_progress: set[str] = set()
        self._accepting = 0  # captures being written: they count for the bounds before they are listed
        self._pending: collections.OrderedDict[str, Pending] = collections.OrderedDict()
        self._plans: collections.OrderedDict[str, Plan] = collections.OrderedDict()  # by file name
        self._claimed: set[str] = set()  # plans that are being delivered
        for directory in (self._pending_dir, self._batches_dir, self._history.directory):
            make_directory(directory)
        self._resume()

    def configure(self, *, max_pending: int, max_bytes: int, drop_oldest: bool) -> None:
        """Go on with other bounds."""
        with self._changed:
            self._max_pending = max_pending
            self._max_bytes = max_bytes
            self._drop_oldest = drop_oldest

    # --- captures ---------------------------------------------------------------------------------------------------
    def add(self, capture: Capture) -> None:
        """Keep a capture; when this returns, it survives the end of the process, whatever ends it.

        It need not survive a power cut yet: ``Status.SUCCESS`` says that it does, at its destination. To wait for the
        disk here would let a prediction's data wait for it twice.

        Raises:
            AlreadyExistsError: Its id is known.
            ResourceExhaustedError: The buffer, the spool or the disk is full.
        """
        content = encode(capture)
        capture_id = capture.header.capture_id
        with self._changed:
            dropped = self._make_room(capture_id, len(content)) if self._drop_oldest else []
            self._check_room(capture_id, len(content))
            file = f"{self._next():0{_DIGITS}d}.capture"
            self._in_progress.add(capture_id)
            self._bytes += len(content)
            self._accepting += 1
        try:
            for one in dropped:
                self._drop(*one)
            write_whole(self._pending_dir / file, content)
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
        """Decide a batch of pending captures for good; those that were given up in the meantime are left out."""
        with self._changed:
            taken = {
                member.file: self._pending.pop(member.file) for member in plan.members if member.file in self._pending
            }
            plan = dataclasses.replace(plan, members=tuple(m for m in plan.members if m.file in taken))
            file = f"{self._next():0{_DIGITS}d}-{plan.id}.json"
        if not taken:
            return
        try:
            write_durably(self._batches_dir / file, plan.encode())
        except BaseException:
            with self._changed:
                self._pending.update(taken)
                for name in reversed(taken):
                    self._pending.move_to_end(name, last=False)
            raise
        with self._changed:
            self._plans[file] = plan
            self._changed.notify_all()

    def next_plan(self, *, timeout: float) -> tuple[str, Plan] | None:
        """Wait for a plan that is to be delivered: its file name and itself. It is the caller's until it gives it back.

        ``postpone`` and ``finish`` give it back.
        """
        with self._changed:
            free = self._first_free_plan()
            if free is None:
                self._changed.wait(timeout)
                free = self._first_free_plan()
            if free is not None:
                self._claimed.add(free[0])
            return free

    def postpone(self, file: str) -> None:
        """Let the other plans go first."""
        with self._changed:
            self._plans.move_to_end(file)
            self._claimed.discard(file)

    def finish(self, file: str, *, lost: Iterable[str] = ()) -> None:
        """Close a plan after everything that it names arrived, but for the ids in ``lost``."""
        with self._changed:
            plan = dataclasses.replace(self._plans[file], lost=tuple(lost))
        done = self._history.directory
        if plan.lost:
            write_durably(done / file, plan.encode())
            (self._batches_dir / file).unlink()
        else:
            (self._batches_dir / file).rename(done / file)
            sync_directory(done)
        # After a power cut before this the plan may stand in both folders, never in none.
        sync_directory(self._batches_dir)
        with self._changed:
            del self._plans[file]
            self._claimed.discard(file)
            forgotten = self._close(file, plan)
        self._count("captures_delivered", len(plan.members) - len(plan.lost))
        self._count("captures_lost", len(plan.lost))
        self._remove(plan, forgotten)

    def wake(self) -> None:
        """Let whoever waits look again."""
        with self._changed:
            self._changed.notify_all()

    def backlog(self) -> tuple[int, int]:
        """How many captures wait for a batch, and how many batches for their delivery."""
        with self._changed:
            return len(self._pending), len(self._plans)

    def usage(self) -> tuple[int, int]:
        """How many captures are on their way, and how many bytes of them."""
        with self._changed:
            return len(self._in_progress), self._bytes

    # --- inside -----------------------------------------------------------------------------------------------------
    def _first_free_plan(self) -> tuple[str, Plan] | None:
        return next((item for item in self._plans.items() if item[0] not in self._claimed), None)

    def _close(self, file: str, plan: Plan) -> list[Path]:
        self._in_progress.difference_update(member.capture_id for member in plan.members)
        self._bytes -= sum(self._sizes.pop(member.file, 0) for member in plan.members)
        return self._history.add(file, plan)

    def _remove(self, plan: Plan, forgotten: list[Path]) -> None:
        for path in [*(self._pending_dir / member.file for member in plan.members), *forgotten]:
            path.unlink(missing_ok=True)

    def _make_room(self, capture_id: str, size: int) -> list[tuple[str, Plan, list[Path]]]:
        """Give up the oldest captures until there is room for one more; the caller removes their files."""
        dropped: list[tuple[str, Plan, list[Path]]] = []
        if self._status(capture_id) is not None or size > self._max_bytes:
            return dropped
        while self._bytes + size > self._max_bytes or len(self._pending) + self._accepting >= self._max_pending:
            planned = self._first_free_plan() if self._bytes + size > self._max_bytes else None
            if planned is not None:
                file, plan = planned
                del self._plans[file]
            elif self._pending:
                _, oldest = self._pending.popitem(last=False)
                member = Member(file=oldest.file, capture_id=oldest.header.capture_id)
                plan = Plan(id=uuid.uuid4().hex, folder="", fleet="", device="", embed_limit=0, members=(member,))
                file = f"{self._next():0{_DIGITS}d}-{plan.id}.json"
            else:
                break
            plan = dataclasses.replace(plan, lost=tuple(member.capture_id for member in plan.members))
            dropped.append((file, plan, self._close(file, plan)))
        return dropped

    def _drop(self, file: str, plan: Plan, forgotten: list[Path]) -> None:
        try:
            write_whole(self._history.directory / file, plan.encode())
        except OSError as error:  # a full disk: what became of them is forgotten with this process
            _LOG.warning("history_not_kept", extra={"fields": {"file": file, "error": str(error)}})
        (self._batches_dir / file).unlink(missing_ok=True)
        self._remove(plan, forgotten)
        self._count("captures_dropped", len(plan.members))
        _LOG.warning("captures_dropped", extra={"fields": {"captures": len(plan.members), "reason": "no room"}})

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
        return self._history.status(capture_id)

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    def _resume(self) -> None:
        for directory in (self._pending_dir, self._batches_dir, self._history.directory):
            for part in directory.glob(f"*{PART_SUFFIX}"):
                part.unlink()
        done, batches = read_plans(self._history.directory), read_plans(self._batches_dir)
        for file, plan in done.items():  # a crash may have come between the rename and the removal
            self._remove(plan, self._history.add(file, plan))
        for file, plan in batches.items():
            if file in done:
                (self._batches_dir / file).unlink()
            else:
                self._plans[file] = plan
        planned = {member.file for plan in self._plans.values() for member in plan.members}
        self._in_progress.update(member.capture_id for plan in self._plans.values() for member in plan.members)
        names = [
            *done,
            *batches,
            *(member.file for plan in (*done.values(), *batches.values()) for member in plan.members),
        ]
        paths = sorted(self._pending_dir.glob("*.capture"))
        # No name is used twice, also after what had it is gone.
        self._sequence = max((int(name[:_DIGITS]) for name in [*names, *(path.name for path in paths)]), default=0)
        for path in paths:
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
            self._count("captures_lost", 1)
            return
        self._pending[path.name] = Pending(path.name, header, time.monotonic())
        self._in_progress.add(header.capture_id)
