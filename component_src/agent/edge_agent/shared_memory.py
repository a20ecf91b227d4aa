# SPDX-License-Identifier: Apache-2.0
"""The agent's half of shared memory: attachments that outlast a call, and a look at the segment on every call.

Attaching costs page faults on the whole tensor, so attachments are kept. A kept attachment also keeps its segment and
id alive, so an id cannot come to mean another segment meanwhile. It is ended when the segment was changed or nobody
else has it attached any more and it is marked for removal: that is how the memory of a client that is gone comes back.
Clients may mark theirs at once; see ``edge_contract.shared_tensors``.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import threading
from typing import TYPE_CHECKING

from edge_agent.errors import InvalidArgumentError, UnsupportedError
from edge_contract import sysv

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_contract.wire import SharedMemory

_LOG = logging.getLogger(__name__)
_WRITE_OR_EXECUTE = 0o333
_MOST_ATTACHMENTS = 64
_SWEEP_SECONDS = 2.0


class _Attachment:
    """One mapped segment."""

    def __init__(self, segment_id: int, found: sysv.Status) -> None:
        self.segment_id = segment_id
        self.identity = _identity(found)
        self.size = found.size
        self.address = sysv.attach(segment_id, read_only=True)
        self.users = 0
        self.stale = False


class Segments:
    """The attached segments; safe to use from several threads.

    Args:
        most_attachments: How many unused ones are kept.
        sweep_seconds: How often abandoned ones are looked for; while none is attached, nothing runs.
    """

    def __init__(self, *, most_attachments: int = _MOST_ATTACHMENTS, sweep_seconds: float = _SWEEP_SECONDS) -> None:
        self._most_attachments = most_attachments
        self._sweep_seconds = sweep_seconds
        self._changed = threading.Condition()
        self._attached: collections.OrderedDict[int, _Attachment] = collections.OrderedDict()
        self._sweeping = False

    @contextlib.contextmanager
    def reading(self) -> Iterator[Reading]:
        """Look at segments while the block runs; views that it took are invalid afterwards."""
        reading = Reading(self)
        try:
            yield reading
        finally:
            if reading.used:
                self._release(reading.used)

    def attached(self) -> list[int]:
        """The ids of the segments that are attached now."""
        with self._changed:
            return list(self._attached)

    def sweep(self) -> None:
        """End the attachments of segments that nobody else uses."""
        with self._changed:
            for attachment in list(self._attached.values()):
                try:
                    found = sysv.status(attachment.segment_id)
                    abandoned = found.removed and found.attachments <= 1
                except OSError:  # its mode was changed: who still sends it will be told
                    abandoned = True
                if abandoned:
                    self._retire(attachment)

    def _take(self, handle: SharedMemory, what: str) -> _Attachment:
        if not sysv.available():
            raise UnsupportedError(f"{what}: expected byte_data: this machine has no System V shared memory for us")
        if handle.segment_id > sysv.LARGEST_ID:
            raise InvalidArgumentError(
                f"{what}: expected a segment_id as shmget returns it, from 0 to {sysv.LARGEST_ID}, "
                f"got {handle.segment_id}"
            )
        with self._changed:
            try:
                found = sysv.status(handle.segment_id)
                self._check(handle, found, what)
                attachment = self._attached.get(handle.segment_id)
                if attachment is not None and attachment.identity != _identity(found):
                    self._retire(attachment)
                    attachment = None
                if attachment is None:
                    attachment = _Attachment(handle.segment_id, found)
            except OSError as error:
                raise InvalidArgumentError(
                    f"{what}: shared memory segment {handle.segment_id} cannot be read: {error.strerror}; does it "
                    "still exist, is it in the agent's IPC namespace, and may the agent's user read it?"
                ) from None
            self._attached[handle.segment_id] = attachment
            self._attached.move_to_end(handle.segment_id)
            attachment.users += 1
            self._trim()
            if not self._sweeping:
                self._sweeping = True
                threading.Thread(target=self._keep_sweeping, name="shared-memory-sweep", daemon=True).start()
            return attachment

    @staticmethod
    def _check(handle: SharedMemory, found: sysv.Status, what: str) -> None:
        if found.mode & _WRITE_OR_EXECUTE:
            raise InvalidArgumentError(
                f"{what}: expected shared memory segment {handle.segment_id} to be read-only for everyone during the "
                f"call, such as mode 0400, got {found.mode:#05o}; change it with shmctl(IPC_SET) before the call"
            )
        if handle.offset + handle.size > found.size:
            raise InvalidArgumentError(
                f"{what}: expected offset and size within the {found.size} bytes of shared memory segment "
                f"{handle.segment_id}, got {handle.offset} and {handle.size}"
            )

    def _release(self, used: list[_Attachment]) -> None:
        with self._changed:
            for attachment in used:
                attachment.users -= 1
                if attachment.stale and not attachment.users:
                    _detach(attachment)
            self._trim()

    def _trim(self) -> None:
        if len(self._attached) <= self._most_attachments:
            return
        for attachment in [one for one in self._attached.values() if not one.users]:
            self._retire(attachment)
            if len(self._attached) <= self._most_attachments:
                return

    def _retire(self, attachment: _Attachment) -> None:
        del self._attached[attachment.segment_id]
        attachment.stale = True
        if not attachment.users:
            _detach(attachment)

    def _keep_sweeping(self) -> None:
        while True:
            with self._changed:
                self._changed.wait(self._sweep_seconds)
            self.sweep()
            with self._changed:
                if not self._attached:
                    self._sweeping = False
                    return


class Reading:
    """What one call looks at; see ``Segments.reading``."""

    def __init__(self, segments: Segments) -> None:
        self._segments = segments
        self.used: list[_Attachment] = []

    def view(self, handle: SharedMemory, *, what: str) -> memoryview:
        """View the bytes that a handle stands for, up to the segment's end when it says no size.

        Args:
            handle: As it came.
            what: What lies there, for messages.

        Raises:
            InvalidArgumentError: There is no such segment, it is not read-only, or it ends before.
            UnsupportedError: This machine has no shared memory of this kind.
        """
        attachment = self._segments._take(handle, what)  # noqa: SLF001 # the two are one
        self.used.append(attachment)
        end = handle.offset + handle.size if handle.size else attachment.size
        return sysv.view(attachment.address, attachment.size).toreadonly()[handle.offset : end]


def _identity(found: sysv.Status) -> tuple[int, int, int]:
    return found.change_time, found.size, found.creator


def _detach(attachment: _Attachment) -> None:
    try:
        sysv.detach(attachment.address)
    except OSError as error:
        _LOG.warning("detach_failed", extra={"fields": {"segment": attachment.segment_id, "error": str(error)}})
