# SPDX-License-Identifier: Apache-2.0
"""Captures at their bounds: no room, no network, a failing disk, other parameters."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import files, settings
from edge_agent.captures import capture, room, worker
from edge_agent.captures import spool as spool_module
from edge_agent.captures.destinations import DeliveryError, Disk, File, NoRoomError
from edge_agent.captures.history import Status
from edge_agent.captures.intake import Captures
from edge_agent.captures.pipeline import Pipeline
from edge_agent.captures.spool import Spool
from edge_agent.errors import FailedPreconditionError, NotFoundError, ResourceExhaustedError
from edge_agent.files import Group
from edge_agent.metrics import Metrics


def make_settings(work: Path, **values: str) -> settings.Settings:
    fixed = {"DeviceFleetName": "fleet", "BucketName": "bucket", "CaptureDataBase64EmbedLimit": "4", **values}
    return settings.parse(fixed, device_name="device", work=work)


def make_capture(capture_id: str, *, size: int = 8, at: int = 3600) -> capture.Capture:
    header = capture.Header(capture_id=capture_id, model_name="digits", model_version="1.0", inference_time=at)
    return capture.Capture(header, [capture.Item(capture.INPUTS, "x", f"Tensor[UINT8; {size}]", "NONE", bytes(size))])


class Store:
    """A destination in memory that can be told to fail."""

    together = 1

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.failure = ""

    def reference(self, key: str) -> str:
        return f"s3://bucket/{key}"

    def put(self, files: Iterable[File]) -> None:
        for file in files:
            if self.failure:
                raise DeliveryError(self.failure)
            with file.open() as stream:
                self.objects[file.key] = stream.read()


def records(root: Path) -> list[str]:
    """The ids of the captures below a disk path."""
    lines = [line for path in root.rglob("*.jsonl") for line in path.read_bytes().splitlines()]
    return sorted(json.loads(line)["eventMetadata"]["eventId"] for line in lines)


def disk_bytes(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


class Counts(dict[str, int]):
    def __call__(self, name: str, amount: int) -> None:
        self[name] = self.get(name, 0) + amount


class TestGroup:
    def test_no_file_has_its_name_before_it_is_synced(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        events: list[str] = []
        real_sync, real_replace, real_fsync = os.fdatasync, Path.replace, os.fsync

        def fdatasync(descriptor: int) -> None:
            events.append("data")
            real_sync(descriptor)

        def replace(path: Path, target: Path) -> Path:
            events.append("name")
            return real_replace(path, target)

        def fsync(descriptor: int) -> None:
            events.append("directory")
            real_fsync(descriptor)

        monkeypatch.setattr(os, "fdatasync", fdatasync)
        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(Path, "replace", replace)
        with Group() as group:
            for number in range(3):
                group.write(tmp_path / f"{number}", b"x")
        assert events == ["data"] * 3 + ["name"] * 3 + ["directory"]

    def test_more_files_than_descriptors_are_written(self, tmp_path: Path) -> None:
        with Group() as group:
            for number in range(200):
                group.write(tmp_path / f"{number}", b"%d" % number)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
            f"{number}": b"%d" % number for number in range(200)
        }

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
    def test_a_failing_disk_leaves_nothing_half_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
    ) -> None:
        def fail(_: int) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "fdatasync", fail)
        before = len(list(Path("/proc/self/fd").iterdir()))
        with pytest.raises(OSError, match=os.strerror(code)), Group() as group:
            group.write(tmp_path / "a", b"x")
        assert list(tmp_path.iterdir()) == []
        assert len(list(Path("/proc/self/fd").iterdir())) == before


class TestDropOldest:
    def spool(self, root: Path, counts: Counts, **bounds: int) -> Spool:
        limits = {"max_pending": 100, "max_bytes": 1000, "max_history": 1000, **bounds}
        return Spool(root, drop_oldest=True, count=counts, **limits)

    def test_the_newest_is_kept_and_the_oldest_fails(self, tmp_path: Path) -> None:
        counts = Counts()
        spool = self.spool(tmp_path / "spool", counts, max_pending=3)
        for number in range(5):
            spool.add(make_capture(f"id-{number}"))
        assert [spool.status(f"id-{number}") for number in range(5)] == [Status.FAILURE] * 2 + [Status.IN_PROGRESS] * 3
        assert counts["captures_dropped"] == 2
        again = self.spool(tmp_path / "spool", Counts())
        assert [again.status(f"id-{number}") for number in range(5)] == [Status.FAILURE] * 2 + [Status.IN_PROGRESS] * 3
        assert again.backlog() == (3, 0)

    def test_batches_that_wait_for_the_network_go_first(self, tmp_path: Path) -> None:
        store, counts = Store(), Counts()
        store.failure = "offline"
        spool = self.spool(tmp_path / "spool", counts, max_bytes=1500)
        pipeline = Pipeline(spool, make_settings(tmp_path, CaptureDataBatchSize="2"), destination=store)
        pipeline._batcher.stop()
        for number in range(2):
            spool.add(make_capture(f"old-{number}", size=100))
        pipeline._batch()
        for number in range(10):
            spool.add(make_capture(f"new-{number}", size=100))
        assert spool.status("old-0") is spool.status("old-1") is Status.FAILURE
        assert spool.status("new-9") is Status.IN_PROGRESS
        assert spool.usage()[1] <= 1500
        store.failure = ""
        while pipeline._batch():
            pass
        while spool.backlog()[1]:
            pipeline._deliver()
        kept = [f"new-{number}" for number in range(10) if spool.status(f"new-{number}") is Status.SUCCESS]
        assert kept[-1] == "new-9"
        assert len(kept) + counts["captures_dropped"] == 12
        assert not list((tmp_path / "spool/pending").iterdir())

    def test_a_batch_under_way_is_not_taken_away(self, tmp_path: Path) -> None:
        counts = Counts()
        spool = self.spool(tmp_path / "spool", counts, max_bytes=700)
        store = Store()
        pipeline = Pipeline(spool, make_settings(tmp_path), destination=store)
        pipeline._batcher.stop()
        spool.add(make_capture("first", size=300))
        pipeline._batch()
        assert spool.next_plans(most=1, timeout=0)  # somebody delivers it now
        with pytest.raises(ResourceExhaustedError):
            spool.add(make_capture("second", size=300))
        assert spool.status("first") is Status.IN_PROGRESS
        assert counts == {}

    @hypothesis.settings(deadline=None)  # it waits for a disk that others use too
    @given(sizes=st.lists(st.integers(1, 900), min_size=1, max_size=12))
    def test_whatever_comes_the_bound_holds_and_what_fits_is_kept(
        self, tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
    ) -> None:
        root = tmp_path_factory.mktemp("spool")
        counts = Counts()
        spool = self.spool(root, counts)
        accepted = 0
        for number, size in enumerate(sizes):
            one = make_capture(f"id-{number}", size=size)
            try:
                spool.add(one)
            except ResourceExhaustedError:
                assert capture.encode(one).size > 1000
                continue
            accepted += 1
            assert spool.status(f"id-{number}") is Status.IN_PROGRESS
            assert sum(path.stat().st_size for path in (root / "pending").iterdir()) == spool.usage()[1] <= 1000
        assert accepted == counts.get("captures_dropped", 0) + spool.usage()[0]


class TestStrictOffline:
    def captures(self, work: Path, store: Store, **values: str) -> Captures:
        parameters = make_settings(work, CaptureDataPushPeriodSeconds="0.01", **values)
        made = Captures(work / "spool", parameters, Metrics())
        made._pipeline._destination = store
        return made

    @pytest.mark.parametrize("strict", [False, True])
    def test_offline_refuses_in_strict_mode_only(
        self, tmp_path: Path, eventually: Callable[..., None], *, strict: bool
    ) -> None:
        store = Store()
        store.failure = "Could not connect to the endpoint"
        captures = self.captures(tmp_path, store, CaptureDataStrictOffline=str(strict).lower())
        captures.start()
        captures.add(make_capture("before-anybody-knew"), handle="m")
        eventually(lambda: captures._pipeline.failure)
        if strict:
            with pytest.raises(FailedPreconditionError, match=r"CaptureDataStrictOffline.*Could not connect"):
                captures.add(make_capture("offline"), handle="m")
        else:
            captures.add(make_capture("offline"), handle="m")
        store.failure = ""
        eventually(lambda: captures.status("before-anybody-knew") is Status.SUCCESS)
        captures.add(make_capture("online-again"), handle="m")
        eventually(lambda: captures.status("online-again") is Status.SUCCESS)
        captures.stop(5)
        assert captures._metrics.counters()["captures_refused"] == int(strict)

    def test_the_disk_is_never_offline(self, tmp_path: Path) -> None:
        captures = Captures(
            tmp_path / "spool",
            make_settings(tmp_path, CaptureDataStrictOffline="true", CaptureDataDestination="Disk"),
            Metrics(),
        )
        captures._pipeline._failure = "no matter what"
        captures.add(make_capture("a"), handle="m")


class TestDamage:
    def test_a_lost_capture_does_not_become_a_success_with_a_restart(self, tmp_path: Path) -> None:
        counts = Counts()
        bounds: dict[str, Any] = {"max_pending": 9, "max_bytes": 1 << 20, "max_history": 99}
        spool = Spool(tmp_path / "spool", count=counts, **bounds)
        for name in ("a", "b"):
            spool.add(make_capture(name))
        first = min((tmp_path / "spool/pending").iterdir())
        first.write_bytes(first.read_bytes()[:-1] + b"X")
        pipeline = Pipeline(spool, make_settings(tmp_path), destination=Store())
        pipeline._batcher.stop()
        pipeline._batch()
        pipeline._deliver()
        for one in (spool, Spool(tmp_path / "spool", **bounds)):
            assert (one.status("a"), one.status("b")) == (Status.FAILURE, Status.SUCCESS)
        assert counts == {"captures_delivered": 1, "captures_lost": 1}

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
    def test_a_disk_that_recovers_gets_everything(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
    ) -> None:
        spool = Spool(tmp_path / "spool", max_pending=9, max_bytes=1 << 20, max_history=99)
        for name in ("a", "b"):
            spool.add(make_capture(name))
        pipeline = Pipeline(
            spool, make_settings(tmp_path, CaptureDataDestination="Disk"), destination=Disk(tmp_path / "capture")
        )
        pipeline._batcher.stop()

        def fail(_: int) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "fdatasync", fail)
        with pytest.raises(OSError, match=os.strerror(code)):
            pipeline._batch()  # not even the plan can be written
        assert spool.backlog() == (2, 0)
        monkeypatch.undo()
        pipeline._batch()
        monkeypatch.setattr(os, "fdatasync", fail)
        with pytest.raises(DeliveryError, match=os.strerror(code)):
            pipeline._deliver()
        assert spool.status("a") is Status.IN_PROGRESS
        monkeypatch.undo()
        pipeline._deliver()
        assert records(tmp_path / "capture") == ["a", "b"]
        assert not list(tmp_path.rglob("*.part"))

    @pytest.mark.parametrize("lost", [False, True])
    @pytest.mark.parametrize("failing", ["sync", "rename"])
    def test_a_disk_that_fails_while_batches_are_closed_closes_them_later(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, failing: str, lost: bool
    ) -> None:
        spool = Spool(tmp_path / "spool", max_pending=9, max_bytes=1 << 20, max_history=99)
        for name in ("a", "b"):
            spool.add(make_capture(name))
        if lost:
            for path in (tmp_path / "spool/pending").iterdir():
                path.write_bytes(b"")
        disk = Disk(tmp_path / "capture")
        pipeline = Pipeline(spool, make_settings(tmp_path, CaptureDataBatchSize="1"), destination=disk)
        pipeline._batcher.stop()
        while pipeline._batch():
            pass
        owner, name = (spool_module, "sync_directory") if failing == "sync" else (Path, "unlink" if lost else "rename")
        real, calls = getattr(owner, name), list[object]()

        def fail_the_second_time(*arguments: object, **named: object) -> object:
            calls.append(arguments)
            if len(calls) > 1:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(*arguments, **named)

        monkeypatch.setattr(owner, name, fail_the_second_time)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            pipeline._deliver()
        monkeypatch.undo()
        while spool.backlog()[1]:
            pipeline._deliver()
        expected = Status.FAILURE if lost else Status.SUCCESS
        for one in (spool, Spool(tmp_path / "spool", max_pending=9, max_bytes=1 << 20, max_history=99)):
            assert {one.status(name) for name in ("a", "b")} == {expected}
            assert one.usage() == (0, 0)
        assert records(tmp_path / "capture") == ([] if lost else ["a", "b"])
        assert not list((tmp_path / "spool/batches").iterdir())

    def test_a_batch_that_the_disk_took_in_part_is_none(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        bounds: dict[str, Any] = {"max_pending": 9, "max_bytes": 1 << 20, "max_history": 99}
        spool = Spool(tmp_path / "spool", **bounds)
        spool.add(make_capture("a"))
        pipeline = Pipeline(spool, make_settings(tmp_path), destination=Disk(tmp_path / "capture"))
        pipeline._batcher.stop()

        def fail(*_: object, **__: object) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        with monkeypatch.context() as broken:
            broken.setattr(files, "sync_directory", fail)  # after the plan has its name
            broken.setattr(Path, "unlink", fail)
            with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                pipeline._batch()
        pipeline._batch()
        assert len(list((tmp_path / "spool/batches").iterdir())) == 1
        again = Spool(tmp_path / "spool", **bounds)
        Pipeline(again, make_settings(tmp_path), destination=Disk(tmp_path / "capture"))._deliver()
        assert (records(tmp_path / "capture"), again.status("a")) == (["a"], Status.SUCCESS)

    def test_a_batch_whose_captures_cannot_be_removed_is_finished(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spool = Spool(tmp_path / "spool", max_pending=9, max_bytes=1 << 20, max_history=99)
        pipeline = Pipeline(spool, make_settings(tmp_path), destination=Disk(tmp_path / "capture"))
        pipeline._batcher.stop()
        spool.add(make_capture("a"))
        pipeline._batch()

        def fail(*_: object, **__: object) -> None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        with monkeypatch.context() as broken:
            broken.setattr(spool._captures, "remove", fail)
            with pytest.raises(OSError, match=os.strerror(errno.EROFS)):  # told as what it is, and no defect
                pipeline._deliver()
        assert (spool.status("a"), spool.backlog()) == (Status.SUCCESS, (0, 0))
        assert Spool(tmp_path / "spool", max_pending=9, max_bytes=1 << 20, max_history=99).usage() == (0, 0)

    @pytest.mark.parametrize("size", [8, 5000])
    @pytest.mark.parametrize(
        ("code", "refusal", "message"),
        [
            (errno.ENOSPC, ResourceExhaustedError, r"'a': expected room on the disk of .*, it is full; make room"),
            (errno.EROFS, FailedPreconditionError, r"'a': expected that .* can be written, got Read-only file system"),
            (errno.EIO, FailedPreconditionError, r"'a': expected that .* can be written, got Input/output error"),
        ],
    )
    def test_a_failing_disk_refuses_new_captures_and_takes_them_again(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        *,
        code: int,
        refusal: type[Exception],
        message: str,
        size: int,
    ) -> None:
        captures = Captures(tmp_path / "spool", make_settings(tmp_path), Metrics())

        def fail(*_: object, **__: object) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(Path, "open", fail)
        with pytest.raises(refusal, match=message):
            captures.add(make_capture("a", size=size), handle="m")
        monkeypatch.undo()
        with pytest.raises(NotFoundError):
            captures.status("a")
        assert captures.usage() == (0, 0)
        captures.add(make_capture("a", size=size), handle="m")
        assert captures._metrics.counters()["captures_refused"] == 1


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
        spool = Spool(work / "spool", max_pending=100, max_bytes=40_000, max_history=99)
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

    def test_what_was_written_before_a_crash_is_not_counted_twice(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
        spool, pipeline = self.pipeline(tmp_path, 6000, Counts())
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
        captures.add(make_capture("large", size=2**20 - 2000), handle="m")
        eventually(lambda: captures._metrics.counters()["deliveries_failed"] > 3)
        with pytest.raises(ResourceExhaustedError, match="CaptureSpoolMaxBytes"):
            captures.add(make_capture("b", size=5000), handle="m")
        assert [one.message for one in caplog.records].count("delivery_failed") == 1
        captures.configure(self.parameters(tmp_path, 0))
        eventually(lambda: captures.status("large") is Status.SUCCESS)
        captures.stop(5)


class TestConfigure:
    def test_a_running_pipeline_goes_to_another_place(self, tmp_path: Path, eventually: Callable[..., None]) -> None:
        def parameters(path: str) -> settings.Settings:
            return make_settings(
                tmp_path,
                CaptureDataDestination="Disk",
                CaptureDataDiskPath=path,
                CaptureDataPushPeriodSeconds="0.02",
            )

        captures = Captures(tmp_path / "spool", parameters("one"), Metrics())
        captures.start()
        stop = threading.Event()
        added: list[str] = []

        def add() -> None:
            while not stop.wait(0.002):
                name = f"id-{len(added)}"
                try:
                    captures.add(make_capture(name), handle="m")
                except ResourceExhaustedError:
                    continue
                added.append(name)

        thread = threading.Thread(target=add)
        thread.start()
        eventually(lambda: records(tmp_path / "one"))
        captures.configure(parameters("two"))
        eventually(lambda: records(tmp_path / "two"))
        stop.set()
        thread.join()
        captures.stop(10)
        assert sorted([*records(tmp_path / "one"), *records(tmp_path / "two")]) == sorted(added)
