# SPDX-License-Identifier: Apache-2.0
"""Captures as the agent sees them: taken in, told about, and on their way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_agent.captures.pipeline import Pipeline
from edge_agent.captures.spool import Spool
from edge_agent.errors import FailedPreconditionError, ResourceExhaustedError

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.captures.capture import Capture
    from edge_agent.captures.history import Status
    from edge_agent.metrics import Metrics
    from edge_agent.settings import Settings

_LEAST_HISTORY = 1000
_HISTORY_PER_BUFFER = 10


class Captures:
    """Keeps and delivers captures; safe to use from several threads.

    Args:
        root: The spool's directory; only one process at a time may use it.
        settings: The agent's parameters; see ``configure``.
        metrics: What is counted.
    """

    def __init__(self, root: Path, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._spool = Spool(
            root,
            max_pending=settings.capture_data_buffer_size,
            max_bytes=settings.capture_spool_max_bytes,
            max_history=max(_LEAST_HISTORY, _HISTORY_PER_BUFFER * settings.capture_data_buffer_size),
            drop_oldest=settings.capture_data_drop_oldest,
            count=metrics.count,
        )
        self._pipeline = Pipeline(self._spool, settings, count=metrics.count)

    def start(self) -> None:
        """Begin to deliver."""
        self._pipeline.start()

    def stop(self, seconds: float) -> None:
        """Deliver what is left, but not longer than so many seconds; the rest waits for the next start."""
        self._pipeline.stop(seconds)

    def configure(self, settings: Settings) -> None:
        """Go on with other parameters."""
        self._settings = settings
        self._spool.configure(
            max_pending=settings.capture_data_buffer_size,
            max_bytes=settings.capture_spool_max_bytes,
            drop_oldest=settings.capture_data_drop_oldest,
        )
        self._pipeline.configure(settings)

    def add(self, capture: Capture, *, handle: str) -> None:
        """Keep a capture; when this returns, it survives the end of the process.

        Args:
            capture: The capture.
            handle: Of the model that it is of.

        Raises:
            AlreadyExistsError: Its id is known.
            ResourceExhaustedError: The buffer, the spool or the disk is full.
            FailedPreconditionError: The disk cannot be written; in strict mode also: the bucket cannot be reached.
        """
        try:
            self._check_reachable(capture.header.capture_id)
            self._spool.add(capture)
        except (FailedPreconditionError, ResourceExhaustedError):
            self._metrics.count("captures_refused")
            raise
        self._metrics.captured(handle)

    def status(self, capture_id: str) -> Status:
        """Tell how far a capture has come.

        Raises:
            NotFoundError: The id is unknown or forgotten.
        """
        return self._spool.status(capture_id)

    def usage(self) -> tuple[int, int]:
        """How many captures are on their way, and how many bytes of them."""
        return self._spool.usage()

    def _check_reachable(self, capture_id: str) -> None:
        settings = self._settings
        if not settings.capture_data_strict_offline or settings.capture_data_destination != "Cloud":
            return
        if failure := self._pipeline.failure:
            raise FailedPreconditionError(
                f"capture {capture_id!r}: expected the bucket to be reachable (CaptureDataStrictOffline is true), "
                f"but the last delivery failed: {failure}"
            )
