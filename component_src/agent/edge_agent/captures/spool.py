# SPDX-License-Identifier: Apache-2.0
"""The folders of the spool, and what is remembered about them; see the package's description."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import errno
import itertools
import logging
import threading
import time
import uuid
from typing import TYPE_CHECKING, Callable

from edge_agent.captures.capture import Capture, Header, UnreadableCaptureError, encode
from edge_agent.captures.history import History, Status, read_plans
from edge_agent.captures.plan import Member, Plan
from edge_agent.captures.store import SUFFIX, CaptureFiles
from edge_agent.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    NotFoundError,
    RefusedError,
    ResourceExhaustedError,
)
from edge_agent.files import PART_SUFFIX, Group, make_directory, sync_directory, write_durably, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
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
        #: Its directory.
        self.root = root
        self._captures, self._batches_dir = CaptureFiles(root / "pending"), root / "batches"
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
        self._undecided: set[Path] = set()  # of plans that the disk may have taken in part, and that do not hold
        for directory in (self._batches_dir, self._history.directory):
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
            FailedPreconditionError: The disk cannot be written.
        """
        encoded = encode(capture)
        size, capture_id = encoded.size, capture.header.capture_id
        with self._changed:
            dropped = self._make_room(capture_id, size) if self._drop_oldest else []
            self._check_room(capture_id, size)
            file = f"{self._next():0{_DIGITS}d}{SUFFIX}"
            self._in_progress.add(capture_id)
            self._bytes += size
            self._accepting += 1
        try:
            for one in dropped:
                self._drop(*one)
            self._captures.write(file, encoded)
        except BaseException as error:
            with self._changed:
                self._accepting -= 1
                self._in_progress.discard(capture_id)
                self._bytes -= size
            if isinstance(error, OSError):
                raise _refused(capture_id, self._captures.directory, error) from error
            raise
        with self._changed:
            self._accepting -= 1
            self._sizes[file] = size
            self._pending[file] = Pending(file, capture.header, time.monotonic())
            self._changed.notify_all()

    def read(self, file: str) -> Capture:
        """Read a capture of the spool.

        Raises:
            UnreadableCaptureError: The file is damaged or gone.
        """
        return self._captures.read(file)

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
    def wait_for_batch(
        self, *, size: int, most: int, period: float, flush: threading.Event, timeout: float
    ) -> list[Pending]:
        """Wait until ``size`` captures are pending, or the oldest waited ``period`` seconds, or ``flush`` is set.

        Returns:
            The oldest captures, ``most`` at most, in batches that are full or waited long enough; none after
            ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                now = time.monotonic()
                waiting = list(itertools.islice(self._pending.values(), most))
                whole = len(waiting) - len(waiting) % size
                rest = waiting[whole:]
                if rest and (now >= rest[0].since + period or flush.is_set()):
                    return waiting
                if whole:
                    return waiting[:whole]
                until = min(deadline, rest[0].since + period) if rest else deadline
                if now >= deadline or (flush.is_set() and not rest):
                    return []
                self._changed.wait(max(until - now, 0.0))

    def plan(self, plans: Iterable[Plan]) -> None:
        """Decide batches of pending captures for good; those that were given up in the meantime are left out."""
        taken: dict[str, Pending] = {}
        decided: dict[str, Plan] = {}
        with self._changed:
            for plan in plans:
                members = tuple(member for member in plan.members if member.file in self._pending)
                taken.update((member.file, self._pending.pop(member.file)) for member in members)
                if members:
                    decided[f"{self._next():0{_DIGITS}d}-{plan.id}.json"] = dataclasses.replace(plan, members=members)
        try:
            self._remove_undecided()
            with Group() as group:
                for file, plan in decided.items():
                    group.write(self._batches_dir / file, plan.encode())
        except BaseException:
            # Some may have got their names: after a restart their captures would be in two batches.
            self._undecided.update(self._batches_dir / file for file in decided)
            with contextlib.suppress(OSError):
                self._remove_undecided()
            with self._changed:
                self._pending.update(taken)
                for name in reversed(taken):
                    self._pending.move_to_end(name, last=False)
            raise
        with self._changed:
            self._plans.update(decided)
            self._changed.notify_all()

    def next_plans(self, *, most: int, timeout: float) -> dict[str, Plan]:
        """Wait for plans that are to be delivered, by file name. They are the caller's until it gives them back.

        ``postpone`` and ``finish`` give them back.
        """
        with self._changed:
            if self._first_free_plan() is None:
                self._changed.wait(timeout)
            free = dict(itertools.islice(self._free_plans(), most))
            self._claimed.update(free)
            return free

    def postpone(self, files: Iterable[str]) -> None:
        """Let the other plans go first."""
        with self._changed:
            for file in files:
                self._claimed.discard(file)
                if file in self._plans:  # it may have been finished before something failed
                    self._plans.move_to_end(file)

    def finish(self, lost: Mapping[str, Sequence[str]]) -> None:
        """Close plans after everything that they name arrived.

        Args:
            lost: The plans' file names, and the ids of each one's captures that did not arrive and never will.
        """
        done = self._history.directory
        with self._changed:
            plans = {file: dataclasses.replace(self._plans[file], lost=tuple(ids)) for file, ids in lost.items()}
        for file, plan in plans.items():
            # A disk that failed after some of this had been done is asked for all of it again.
            if plan.lost or not (self._batches_dir / file).exists():
                write_durably(done / file, plan.encode())
                (self._batches_dir / file).unlink(missing_ok=True)
            else:
                (self._batches_dir / file).rename(done / file)
        sync_directory(done)
        # After a power cut before this a plan may stand in both folders, never in none.
        sync_directory(self._batches_dir)
        with self._changed:
            self._claimed.difference_update(plans)
            for file in plans:
                del self._plans[file]
            forgotten = {file: self._close(file, plan) for file, plan in plans.items()}
        for file, plan in plans.items():
            self._count("captures_delivered", len(plan.members) - len(plan.lost))
            self._count("captures_lost", len(plan.lost))
            self._remove(plan, forgotten[file])

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
    def _remove_undecided(self) -> None:
        for path in list(self._undecided):
            path.unlink(missing_ok=True)
            self._undecided.discard(path)

    def _first_free_plan(self) -> tuple[str, Plan] | None:
        return next(self._free_plans(), None)

    def _free_plans(self) -> Iterator[tuple[str, Plan]]:
        return (item for item in self._plans.items() if item[0] not in self._claimed)

    def _close(self, file: str, plan: Plan) -> list[Path]:
        self._in_progress.difference_update(member.capture_id for member in plan.members)
        self._bytes -= sum(self._sizes.pop(member.file, 0) for member in plan.members)
        return self._history.add(file, plan)

    def _remove(self, plan: Plan, forgotten: list[Path]) -> None:
        for member in plan.members:
            self._captures.remove(member.file)
        for path in forgotten:
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
        for directory in (self._batches_dir, self._history.directory):
            for part in directory.glob(f"*{PART_SUFFIX}"):
                part.unlink()
        left = self._captures.resume()
        done, batches = read_plans(self._history.directory), read_plans(self._batches_dir)
        for file, plan in done.items():  # a crash may have come between the rename and the removal
            self._remove(plan, self._history.add(file, plan))
            for member in plan.members:
                left.pop(member.file, None)
        for file, plan in batches.items():
            if file in done:
                (self._batches_dir / file).unlink()
            else:
                self._plans[file] = plan
        planned = {member.file for plan in self._plans.values() for member in plan.members}
        self._in_progress.update(member.capture_id for plan in self._plans.values() for member in plan.members)
        members = (member.file for plan in (*done.values(), *batches.values()) for member in plan.members)
        # No name is used twice, also after what had it is gone.
        self._sequence = max((int(name[:_DIGITS]) for name in (*done, *batches, *members, *left)), default=0)
        self._sizes = left
        self._bytes = sum(left.values())
        for file in [file for file in left if file not in planned]:
            self._resume_capture(file)

    def _resume_capture(self, file: str) -> None:
        try:
            header = self._captures.header(file)
        except UnreadableCaptureError as error:
            # Files appear whole, so the disk itself is at fault; nothing can bring the capture back.
            _LOG.error("capture_lost", extra={"fields": {"file": file, "error": str(error)}})
            self._captures.remove(file)
            self._bytes -= self._sizes.pop(file)
            self._count("captures_lost", 1)
            return
        self._pending[file] = Pending(file, header, time.monotonic())
        self._in_progress.add(header.capture_id)


def _refused(capture_id: str, directory: Path, error: OSError) -> RefusedError:
    """What to tell a caller whose capture the disk did not take."""
    if error.errno in _FULL:
        return ResourceExhaustedError(
            f"capture {capture_id!r}: expected room on the disk of {directory}, it is full; make room, capture again"
        )
    return FailedPreconditionError(
        f"capture {capture_id!r}: expected that {directory} can be written, got {error.strerror}; capture again when "
        "the disk is well"
    )
