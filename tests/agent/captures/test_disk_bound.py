# SPDX-License-Identifier: Apache-2.0
"""The captures that the destination ``Disk`` holds have a bound."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent import settings
from edge_agent.captures import room, worker
from edge_agent.captures.destinations import NoRoomError
from edge_agent.captures.history import Status
from edge_agent.captures.intake import Captures
from edge_agent.captures.pipeline import Pipeline
from edge_agent.captures.spool import Spool
from edge_agent.errors import ResourceExhaustedError
from edge_agent.metrics import Metrics
from tests.agent.captures.doubles import (
    Counts,
    disk_bytes,
    make_capture,
    make_settings,
    records,
)


class TestDiskBound:
    """The captures that the destination ``Disk`` holds have a bound."""

    def parameters(self, work: Path, bound: int) -> settings.Settings:
        parsed = make_settings(
            work,
            CaptureDataDestination="Disk",
            CaptureSpoolMaxBytes=str(2**20),
            CaptureDataBatchSize="1",
            CaptureDataPushPeriodSeconds="0.01",
        )
        return dataclasses.replace(parsed, capture_data_disk_max_bytes=bound)  # the parameter's least is a lot to write

    def pipeline(self, work: Path, bound: int, counts: Counts) -> tuple[Spool, Pipeline]:
        spool = Spool(work / "spool", max_pending=100, max_bytes=200_000, max_history=99)
        pipeline = Pipeline(spool, self.parameters(work, bound), count=counts)
        pipeline._batcher.stop()
        return spool, pipeline

    def deliver(self, spool: Spool, pipeline: Pipeline) -> None:
        """Try each waiting batch by itself, after a first attempt with all of them."""
        while pipeline._batch():
            pass
        for _ in range(1 + spool.backlog()[1]):
            with contextlib.suppress(NoRoomError):
                if spool.backlog()[1]:
                    pipeline._deliver()

    @pytest.fixture(autouse=True)
    def _looks_each_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(room, "_WALK_SECONDS", 0.0)

    @pytest.mark.parametrize("size", [3, 5000])  # within the manifest, and beside it
    def test_what_does_not_fit_waits_and_arrives_once_when_there_is_room(self, tmp_path: Path, size: int) -> None:
        counts, root, each = Counts(), tmp_path / "capture", size + 500
        spool, pipeline = self.pipeline(tmp_path, 2 * each, counts)
        names = [f"id-{number}" for number in range(6)]
        for name in names:
            spool.add(make_capture(name, size=size))
        self.deliver(spool, pipeline)
        first = records(root)
        assert 0 < len(first) < len(names)
        assert disk_bytes(root) <= 2 * each
        assert counts["deliveries_failed"] > 0
        assert "CaptureDataDiskMaxBytes" in pipeline.failure
        assert [spool.status(name) for name in names].count(Status.IN_PROGRESS) == len(names) - len(first)
        # No file is there without the manifest that leads whoever uploads to it.
        assert len(list(root.rglob("raw-data/*/*"))) == (len(first) if size > 4 else 0)
        seen = list(first)
        while spool.backlog()[1]:
            for path in [path for path in root.rglob("*") if path.is_file()]:
                path.unlink()
            self.deliver(spool, pipeline)
            assert records(root)
            seen += records(root)
        assert sorted(seen) == names
        assert {spool.status(name) for name in names} == {Status.SUCCESS}

    def test_a_restart_counts_what_is_there(self, tmp_path: Path) -> None:
        for name, waiting in (("a", 0), ("b", 0), ("c", 1)):
            spool, pipeline = self.pipeline(tmp_path, 12_000, Counts())
            spool.add(make_capture(name, size=5000))
            self.deliver(spool, pipeline)
            assert spool.backlog() == (0, waiting)
        assert records(tmp_path / "capture") == ["a", "b"]

    @pytest.mark.parametrize("bound", [6000, 100])  # it may have been lowered in between: nothing is added
    def test_what_was_written_before_a_crash_is_not_counted_twice(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: int
    ) -> None:
        spool, pipeline = self.pipeline(tmp_path, 6000, Counts())
        spool.add(make_capture("a", size=5000))

        def fail(*_: object) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        with monkeypatch.context() as broken:
            broken.setattr(spool, "finish", fail)
            pipeline._batch()
            with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                pipeline._deliver()
        spool, pipeline = self.pipeline(tmp_path, bound, Counts())
        pipeline._deliver()
        assert spool.status("a") is Status.SUCCESS

    def test_files_are_not_looked_at_for_each_refusal(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(room, "_WALK_SECONDS", 1000.0)
        spool, pipeline = self.pipeline(tmp_path, 6000, Counts())
        for name in ("a", "b"):
            spool.add(make_capture(name, size=5000))
        self.deliver(spool, pipeline)
        for path in [path for path in tmp_path.joinpath("capture").rglob("*") if path.is_file()]:
            path.unlink()
        with pytest.raises(NoRoomError):
            pipeline._deliver()
        monkeypatch.setattr(room, "_WALK_SECONDS", 0.0)
        pipeline._deliver()
        assert spool.backlog() == (0, 0)

    def test_zero_is_no_bound(self, tmp_path: Path) -> None:
        spool, pipeline = self.pipeline(tmp_path, 0, Counts())
        for name in ("a", "b", "c"):
            spool.add(make_capture(name, size=5000))
        self.deliver(spool, pipeline)
        assert records(tmp_path / "capture") == ["a", "b", "c"]

    def test_a_full_spool_then_refuses_and_the_log_tells_it_once(
        self,
        tmp_path: Path,
        eventually: Callable[..., None],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(worker, "backoff", lambda _: 0.01)
        captures = Captures(tmp_path / "spool", self.parameters(tmp_path, 6000), Metrics())
        captures.start()
        captures.add(make_capture("large", size=2**20 - 12_000), handle="m")
        eventually(lambda: captures._metrics.counters()["deliveries_failed"] > 3)
        with pytest.raises(ResourceExhaustedError, match="CaptureSpoolMaxBytes"):
            captures.add(make_capture("b", size=5000), handle="m")
        assert [one.message for one in caplog.records].count("delivery_failed") == 1
        captures.configure(self.parameters(tmp_path, 0))
        eventually(lambda: captures.status("large") is Status.SUCCESS)
        captures.stop(5)
