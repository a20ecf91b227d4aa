# SPDX-License-Identifier: Apache-2.0
"""What the agent counts: for itself and for each loaded model."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import threading
import time
from typing import TYPE_CHECKING

from edge_agent.files import write_durably

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LOG = logging.getLogger(__name__)

#: Every counter of the agent with what it counts.
COUNTERS = {
    "starts": "Starts of the agent",
    "crashes": "Starts after a run that did not end by itself",
    "predictions": "Predictions answered",
    "predictions_failed": "Predictions that failed or were refused by the model",
    "captures_accepted": "Captures acknowledged",
    "captures_refused": "Captures refused for want of room or, in strict mode, of a network",
    "captures_delivered": "Captures that arrived at their destination",
    "captures_lost": "Acknowledged captures that the disk lost",
    "captures_dropped": "Acknowledged captures given up for newer ones",
    "deliveries_failed": "Attempts to deliver that failed and are repeated",
    "uploads_set_aside": "Batches on disk whose upload was put off because a file of theirs cannot be read",
    "load_failures_integrity": "Loads refused because the package was altered or is not trusted",
    "load_failures_memory": "Loads refused for want of memory or of a place among the models",
    "load_failures_format": "Loads refused because the model cannot run here",
    "load_failures_missing": "Loads refused because the package is not there or cannot be read",
}
_RUNNING = "running"


@dataclasses.dataclass
class ModelMetrics:
    """What is counted for a model; times are seconds since 1970 UTC, 0 for never."""

    predictions: int = 0
    failures: int = 0
    seconds: float = 0.0
    slowest_seconds: float = 0.0
    latest_inference: float = 0.0
    latest_sample: float = 0.0


class Metrics:
    """Counts; safe to use from several threads.

    Args:
        file: Where counters survive a restart; None when they need not.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._file = file
        self._counters = dict.fromkeys(COUNTERS, 0)
        self._models: dict[str, ModelMetrics] = {}
        self._started = (time.monotonic(), _cpu_seconds())
        self._resume()
        self.count("starts")
        self.save(running=True)

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a counter."""
        with self._lock:
            self._counters[name] += amount

    @contextlib.contextmanager
    def prediction(self, handle: str) -> Iterator[None]:
        """Time a prediction, and count it as answered or failed."""
        started = time.perf_counter()
        failed = True
        try:
            yield
            failed = False
        finally:
            seconds = time.perf_counter() - started
            with self._lock:
                model = self._models.setdefault(handle, ModelMetrics())
                self._counters["predictions_failed" if failed else "predictions"] += 1
                if failed:
                    model.failures += 1
                else:
                    model.predictions += 1
                    model.seconds += seconds
                    model.slowest_seconds = max(model.slowest_seconds, seconds)
                    model.latest_inference = time.time()

    def loaded(self, handle: str) -> None:
        """Count anew for a handle, under which another model may have been before."""
        with self._lock:
            self._models[handle] = ModelMetrics()

    def captured(self, handle: str) -> None:
        """Note that a sample of a model was taken."""
        with self._lock:
            self._counters["captures_accepted"] += 1
            self._models.setdefault(handle, ModelMetrics()).latest_sample = time.time()

    def counters(self) -> dict[str, int]:
        """All counters."""
        with self._lock:
            return dict(self._counters)

    def models(self, loaded: list[str]) -> dict[str, ModelMetrics]:
        """What was counted for the loaded models; the others are forgotten."""
        with self._lock:
            self._models = {handle: self._models.get(handle, ModelMetrics()) for handle in loaded}
            return {handle: dataclasses.replace(model) for handle, model in self._models.items()}

    def process(self) -> dict[str, float]:
        """The agent's own use of the device: seconds it runs, CPU seconds since then, resident bytes."""
        started, cpu = self._started
        return {
            "uptime_seconds": time.monotonic() - started,
            "cpu_seconds": _cpu_seconds() - cpu,
            "resident_bytes": float(resident_bytes()),
        }

    def save(self, *, running: bool) -> None:
        """Write the counters where they survive a restart, if they have to. A full disk is logged, no more."""
        if self._file is None:
            return
        try:
            write_durably(self._file, json.dumps({**self.counters(), _RUNNING: running}).encode())
        except OSError as error:
            _LOG.warning("counters_not_saved", extra={"fields": {"file": str(self._file), "error": str(error)}})

    def _resume(self) -> None:
        if self._file is None:
            return
        try:
            saved = json.loads(self._file.read_bytes())
            for name in COUNTERS:
                self._counters[name] = max(int(saved.get(name, 0)), 0)
            self._counters["crashes"] += bool(saved.get(_RUNNING))
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, AttributeError) as error:
            fields = {"file": str(self._file), "error": str(error)}
            _LOG.warning("counters_unreadable", extra={"fields": fields})


def resident_bytes() -> int:
    """The memory that this process has resident."""
    with open("/proc/self/statm", encoding="ascii") as stream:  # noqa: PTH123 # no path of ours, read often
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system
