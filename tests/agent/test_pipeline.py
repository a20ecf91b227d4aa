# SPDX-License-Identifier: Apache-2.0
"""Spool and pipeline, cut off at every step: what was kept arrives once, whatever happens between."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edge_agent import settings
from edge_agent.captures import capture
from edge_agent.captures.destinations import DeliveryError, Disk, File
from edge_agent.captures.history import Status
from edge_agent.captures.pipeline import Pipeline
from edge_agent.captures.spool import Spool
from edge_agent.captures.upload import DiskUploader
from edge_agent.captures.worker import backoff
from edge_agent.errors import AlreadyExistsError, NotFoundError, ResourceExhaustedError

HOUR = 3600


class CutError(BaseException):
    """The process ends here."""


class Store:
    """A destination in memory that ends the process at a chosen step, before or after it is done."""

    together = 1

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.steps = 0
        self.cut_at: int | None = None

    def reference(self, key: str) -> str:
        return f"s3://bucket/{key}"

    def put(self, files: Iterable[File]) -> None:
        for file in files:
            self._step()
            with file.open() as stream:
                content = stream.read()
            assert self.objects.get(file.key, content) == content, "the same key came with other bytes"
            self.objects[file.key] = content
            self._step()

    def _step(self) -> None:
        self.steps += 1
        if self.steps == self.cut_at:
            raise CutError

    def records(self) -> list[dict[str, Any]]:
        manifests = [content for key, content in sorted(self.objects.items()) if key.endswith(".jsonl")]
        return [json.loads(line) for content in manifests for line in content.splitlines()]

    def ids(self) -> collections.Counter[str]:
        return collections.Counter(one["eventMetadata"]["eventId"] for one in self.records())


def make_settings(work: Path, **values: str) -> settings.Settings:
    given_values = {"DeviceFleetName": "fleet", "BucketName": "bucket", "CaptureDataBase64EmbedLimit": "4", **values}
    return settings.parse(given_values, device_name="device", work=work)


def make_spool(root: Path, *, max_pending: int = 100, max_bytes: int = 1 << 20, max_history: int = 100) -> Spool:
    return Spool(root, max_pending=max_pending, max_bytes=max_bytes, max_history=max_history)


def make_capture(capture_id: str, *, model: str = "digits", at: int = HOUR, size: int = 8) -> capture.Capture:
    header = capture.Header(capture_id=capture_id, model_name=model, model_version="1.0", inference_time=at)
    items = [
        capture.Item(capture.INPUTS, "x", "Tensor[UINT8; 8]", "NONE", bytes(size)),
        capture.Item(capture.OUTPUTS, "y", "Tensor[UINT8; 1]", "NONE", b"1"),
    ]
    return capture.Capture(header=header, items=items)


def drain(spool: Spool, work: Path, store: Store, **values: str) -> None:
    """Do in this thread what the pipeline does in its own."""
    pipeline = Pipeline(spool, make_settings(work, **values), destination=store)
    pipeline._batcher.stop()
    while pipeline._batch():
        pass
    while spool.backlog()[1]:
        pipeline._deliver()


@pytest.mark.parametrize("cut_at", range(1, 15))
def test_cut_off_at_any_put_everything_arrives_once(tmp_path: Path, cut_at: int) -> None:
    spool = make_spool(tmp_path / "spool")
    ids = [f"id-{number}" for number in range(5)]
    for capture_id in ids:
        spool.add(make_capture(capture_id))
    store = Store()
    store.cut_at = cut_at
    with pytest.raises(CutError):
        drain(spool, tmp_path, store, CaptureDataBatchSize="3")
    again = make_spool(tmp_path / "spool")
    assert again.backlog()[0] == 0  # every capture was planned already, and stays with its batch
    for capture_id in ids:
        with pytest.raises(AlreadyExistsError):
            again.add(make_capture(capture_id))
    store.cut_at = None
    drain(again, tmp_path, store, CaptureDataBatchSize="3")
    assert store.ids() == dict.fromkeys(ids, 1)
    side_files = [key for key in store.objects if "/raw-data/input-tensors/" in key]
    assert len(side_files) == len(ids)
    assert {again.status(capture_id) for capture_id in ids} == {Status.SUCCESS}


def test_cut_off_between_the_arrival_and_the_removal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: object) -> None:
        raise CutError

    spool, store = make_spool(tmp_path / "spool"), Store()
    spool.add(make_capture("a"))
    monkeypatch.setattr(Spool, "_remove", cut)
    with pytest.raises(CutError):
        drain(spool, tmp_path, store)
    monkeypatch.undo()
    assert len(list((tmp_path / "spool/pending").iterdir())) == 1
    again = make_spool(tmp_path / "spool")
    drain(again, tmp_path, store)
    assert store.ids() == {"a": 1}
    assert list((tmp_path / "spool/pending").iterdir()) == []
    assert again.status("a") is Status.SUCCESS
    with pytest.raises(AlreadyExistsError):
        again.add(make_capture("a"))


def test_a_power_cut_that_leaves_a_plan_in_both_folders_delivers_nothing_twice(tmp_path: Path) -> None:
    spool, store = make_spool(tmp_path / "spool"), Store()
    spool.add(make_capture("a"))
    drain(spool, tmp_path, store)
    (done,) = (tmp_path / "spool/done").iterdir()
    shutil.copy(done, tmp_path / "spool/batches")
    again = make_spool(tmp_path / "spool")
    assert again.backlog() == (0, 0)
    assert again.status("a") is Status.SUCCESS


def test_files_that_are_not_the_spools_are_left_alone(tmp_path: Path) -> None:
    make_spool(tmp_path / "spool")
    for name in ("pending/notes.txt", "batches/notes.txt", "done/notes.txt"):
        (tmp_path / "spool" / name).write_text("x")
    assert make_spool(tmp_path / "spool").backlog() == (0, 0)
    assert (tmp_path / "spool/pending/notes.txt").exists()


def test_what_was_not_finished_when_the_process_ended_is_swept(tmp_path: Path) -> None:
    make_spool(tmp_path / "spool")
    orphan = tmp_path / "spool/pending/0000000000000001.capture.part"
    orphan.write_bytes(b"half")
    spool = make_spool(tmp_path / "spool")
    assert not orphan.exists()
    assert spool.backlog() == (0, 0)


def test_a_batch_holds_one_model_and_one_utc_hour(tmp_path: Path) -> None:
    spool, store = make_spool(tmp_path / "spool"), Store()
    for number, (model, at) in enumerate([("a", HOUR), ("b", HOUR), ("a", 2 * HOUR), ("a", 2 * HOUR - 1)]):
        spool.add(make_capture(f"id-{number}", model=model, at=at))
    drain(spool, tmp_path, store)
    manifests = {key.rsplit("/", 1)[0] for key in store.objects if key.endswith(".jsonl")}
    assert manifests == {
        "sme-capture/fleet/a/1970/01/01/01",
        "sme-capture/fleet/b/1970/01/01/01",
        "sme-capture/fleet/a/1970/01/01/02",
    }


def test_a_batch_keeps_its_keys_when_the_configuration_changes(tmp_path: Path) -> None:
    spool, store = make_spool(tmp_path / "spool"), Store()
    spool.add(make_capture("a"))
    store.cut_at = 4  # the manifest has arrived
    with pytest.raises(CutError):
        drain(spool, tmp_path, store)
    before = dict(store.objects)
    store.cut_at = None
    drain(make_spool(tmp_path / "spool"), tmp_path, store, FolderPrefix="new", CaptureDataBase64EmbedLimit="3072")
    assert store.objects == before


def test_a_damaged_capture_fails_and_the_others_arrive(tmp_path: Path) -> None:
    spool, store = make_spool(tmp_path / "spool"), Store()
    for capture_id in ("a", "b", "c"):
        spool.add(make_capture(capture_id))
    files = sorted((tmp_path / "spool/pending").iterdir())
    files[1].write_bytes(files[1].read_bytes()[:-1] + b"X")
    drain(spool, tmp_path, store)
    assert store.ids() == {"a": 1, "c": 1}
    assert spool.status("b") is Status.FAILURE
    files[0].write_bytes(b"not a capture")
    again = make_spool(tmp_path / "spool")
    assert again.backlog() == (0, 0)


def test_a_batch_that_cannot_be_delivered_does_not_hold_up_the_others(tmp_path: Path) -> None:
    class Picky(Store):
        def put(self, files: Iterable[File]) -> None:
            for file in files:
                if "/poison/" in file.key:
                    raise DeliveryError(file.key)
                super().put([file])

    spool, store = make_spool(tmp_path / "spool"), Picky()
    spool.add(make_capture("a", model="poison"))
    spool.add(make_capture("b"))
    pipeline = Pipeline(spool, make_settings(tmp_path), destination=store)
    pipeline._batcher.stop()
    pipeline._batch()
    with pytest.raises(DeliveryError):
        pipeline._deliver()
    pipeline._deliver()
    assert store.ids() == {"b": 1}
    assert spool.status("a") is Status.IN_PROGRESS


def test_the_threads_deliver_when_the_network_comes_back(tmp_path: Path, eventually: Callable[..., None]) -> None:
    online = threading.Event()

    class Flaky(Store):
        def put(self, files: Iterable[File]) -> None:
            if not online.is_set():
                raise DeliveryError("offline")
            super().put(files)

    spool, store = make_spool(tmp_path / "spool"), Flaky()
    pipeline = Pipeline(spool, make_settings(tmp_path, CaptureDataPushPeriodSeconds="0.01"), destination=store)
    pipeline.start()
    spool.add(make_capture("a"))
    eventually(lambda: spool.backlog() == (0, 1))
    online.set()
    eventually(lambda: spool.status("a") is Status.SUCCESS)
    pipeline.stop(5)
    assert store.ids() == {"a": 1}


class TestTogether:
    """Several batches that wait are delivered at once, where that saves waiting for a disk."""

    def test_batches_keep_their_size_and_the_disk_is_waited_for_fewer_times(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def directory_syncs(together: int) -> int:
            root = tmp_path / f"{together}"
            spool, disk = make_spool(root / "spool"), Disk(root / "capture")
            disk.together = together
            pipeline = Pipeline(spool, make_settings(root, CaptureDataBatchSize="2"), destination=disk)
            for number in range(17):
                spool.add(make_capture(f"id-{number}", size=5000))
            synced: list[int] = []
            real = os.fsync

            def fsync(descriptor: int) -> None:
                synced.append(descriptor)
                real(descriptor)

            with monkeypatch.context() as patch:
                patch.setattr(os, "fsync", fsync)
                pipeline._batcher.stop()
                while pipeline._batch():
                    pass
                while spool.backlog()[1]:
                    pipeline._deliver()
            manifests = [path.read_bytes().splitlines() for path in (root / "capture").rglob("*.jsonl")]
            assert sorted(map(len, manifests)) == [1] + [2] * 8
            assert all(spool.status(f"id-{number}") is Status.SUCCESS for number in range(17))
            assert not list((root / "spool/pending").iterdir())
            return len(synced)

        assert directory_syncs(8) * 2 < directory_syncs(1)

    def test_one_that_cannot_arrive_holds_no_other_up(self, tmp_path: Path) -> None:
        class Picky(Store):
            together = 8

            def put(self, files: Iterable[File]) -> None:
                for file in files:
                    if "poison" in file.key:
                        raise DeliveryError("no such key here")
                    super().put([file])

        spool, store = make_spool(tmp_path / "spool"), Picky()
        pipeline = Pipeline(spool, make_settings(tmp_path, CaptureDataBatchSize="1"), destination=store)
        for name in ("poison", "a", "b", "c"):
            spool.add(make_capture(name))
        pipeline._batcher.stop()
        pipeline._batch()
        assert spool.backlog() == (0, 4)
        for _ in range(12):
            with contextlib.suppress(DeliveryError):
                if spool.backlog()[1] > 1:
                    pipeline._deliver()
        assert store.ids() == dict.fromkeys("abc", 1)
        assert spool.status("poison") is Status.IN_PROGRESS


def test_finished_ids_are_forgotten_in_the_end_and_the_disk_with_them(tmp_path: Path) -> None:
    spool, store = make_spool(tmp_path / "spool", max_history=4), Store()
    for number in range(12):
        spool.add(make_capture(f"id-{number}"))
        drain(spool, tmp_path, store)
    assert spool.status("id-11") is Status.SUCCESS
    with pytest.raises(NotFoundError, match="id-0"):
        spool.status("id-0")
    assert len(list((tmp_path / "spool/done").iterdir())) == 4


def test_a_full_disk_refuses_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    spool = make_spool(tmp_path / "spool")
    monkeypatch.setattr("edge_agent.captures.store.write_whole", full)
    with pytest.raises(ResourceExhaustedError, match="disk"):
        spool.add(make_capture("a"))
    monkeypatch.undo()
    assert list((tmp_path / "spool/pending").iterdir()) == []
    with pytest.raises(NotFoundError):
        spool.status("a")
    spool.add(make_capture("a"))


class TestDiskUploader:
    @pytest.mark.parametrize("cut_at", [1, 2, 3, 4, None])
    def test_everything_arrives_once_and_is_removed_however_often_it_is_cut_off(
        self, tmp_path: Path, cut_at: int | None
    ) -> None:
        values = {"CaptureDataDestination": "Disk", "CaptureDataPeriodicUpload": "true"}
        spool, store = make_spool(tmp_path / "spool"), Store()
        parameters = make_settings(tmp_path, **values)
        spool.add(make_capture("a"))
        pipeline = Pipeline(spool, parameters, destination=Disk(parameters.capture_data_disk_path))
        pipeline._batcher.stop()
        pipeline._batch()
        pipeline._deliver()
        (manifest,) = parameters.capture_data_disk_path.rglob("*.jsonl")
        on_disk = json.loads(manifest.read_bytes())["deviceFleetInputs"][0]["data-ref"]
        assert Path(on_disk[len("file://") :]).read_bytes() == bytes(8)
        store.cut_at = cut_at
        uploader = DiskUploader(parameters.capture_data_disk_path, store, parameters)
        if cut_at is not None:
            with pytest.raises(CutError):
                uploader.upload(manifest)
            store.cut_at = None
        if manifest.exists():
            uploader.upload(manifest)
        assert store.ids() == {"a": 1}
        reference = store.records()[0]["deviceFleetInputs"][0]["data-ref"]
        assert store.objects[reference[len("s3://bucket/") :]] == bytes(8)
        assert not [path for path in parameters.capture_data_disk_path.rglob("*") if path.is_file()]

    def test_folders_of_hours_that_are_over_go_when_they_are_empty(self, tmp_path: Path) -> None:
        parameters = make_settings(tmp_path, CaptureDataDestination="Disk", CaptureDataPeriodicUpload="true")
        root, store = parameters.capture_data_disk_path, Store()
        fleet = root / parameters.folder_prefix / parameters.device_fleet_name
        long_ago, now, full = (fleet / "digits/2001/01/01" / hour for hour in ("00", "01", "02"))
        for folder in (long_ago, now, full):
            (folder / "raw-data/input-tensors").mkdir(parents=True)
        (full / "raw-data/input-tensors/left").write_bytes(b"x")
        (full / "b.jsonl").write_bytes(b"{}\n")
        for path in [long_ago, *long_ago.rglob("*"), full]:
            os.utime(path, (0, 0))
        uploader = DiskUploader(root, store, parameters)
        for _ in range(3):  # a folder that lost its last folder just now is not an old one
            for path in [long_ago, long_ago / "raw-data"]:
                if path.exists():
                    os.utime(path, (0, 0))
            uploader._due = 0
            uploader._step()
        assert not long_ago.exists()
        assert (now / "raw-data/input-tensors").is_dir()
        assert (full / "raw-data/input-tensors/left").exists()
        assert [key.rpartition("/")[2] for key in store.objects] == ["b.jsonl"]

    @pytest.mark.parametrize("way", ["../../secret", "link/secret"])
    def test_a_manifest_that_leads_elsewhere_takes_nothing_away(self, tmp_path: Path, way: str) -> None:
        parameters = make_settings(tmp_path / "work", CaptureDataDestination="Disk", CaptureDataPeriodicUpload="true")
        root, store = parameters.capture_data_disk_path, Store()
        fleet = root / parameters.folder_prefix / parameters.device_fleet_name
        fleet.mkdir(parents=True)
        (tmp_path / "secret").write_bytes(b"mine")
        (root / "link").symlink_to(tmp_path)
        evil = fleet / "evil.jsonl"
        evil.write_text(json.dumps({"deviceFleetInputs": [{"data-ref": f"file://{root}/{way}"}]}) + "\n")
        uploader = DiskUploader(root, store, parameters)
        uploader._due = 0
        assert uploader._step()
        assert (tmp_path / "secret").read_bytes() == b"mine"
        assert evil.exists()
        assert not store.objects

    @pytest.mark.parametrize("fault", ["directory", "pipe", "loop", "manifest"])
    def test_what_cannot_be_read_is_set_aside_whole_and_the_later_ones_go_on(
        self, tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        parameters = make_settings(tmp_path, CaptureDataDestination="Disk", CaptureDataPeriodicUpload="true")
        root, store, counted = parameters.capture_data_disk_path, Store(), list[str]()
        fleet = root / parameters.folder_prefix / parameters.device_fleet_name
        fleet.mkdir(parents=True)
        for name in ("a", "b"):
            files = [fleet / f"{name}-{number}" for number in (0, 1)]
            for file in files:
                file.write_bytes(b"data")
            record = {"deviceFleetInputs": [{"data-ref": f"file://{file}"} for file in files]}
            (fleet / f"{name}.jsonl").write_text(json.dumps(record) + "\n")
        broken = fleet / ("a.jsonl" if fault == "manifest" else "a-1")
        content = broken.read_bytes()
        broken.unlink()
        if fault == "pipe":
            os.mkfifo(broken)
        elif fault in {"loop", "manifest"}:  # an error of the file system itself, also for root
            broken.symlink_to(broken)
        else:
            broken.mkdir()
        uploader = DiskUploader(root, store, parameters, count=lambda name, _: counted.append(name))
        for _ in range(2):
            uploader._due = 0
            assert uploader._step()
        assert sorted(key.rpartition("/")[2] for key in store.objects) == ["b-0", "b-1", "b.jsonl"]
        assert counted == ["uploads_set_aside"]
        (told,) = [one for one in caplog.records if one.getMessage() == "upload_set_aside"]
        assert str(broken) in told.__dict__["fields"]["error"]
        assert (fleet / "a-0").exists()
        if fault == "directory":
            broken.rmdir()
        else:
            broken.unlink()
        broken.write_bytes(content)  # somebody mends it
        uploader._due = 0
        assert uploader._step()
        assert {"a-0", "a-1", "a.jsonl"} < {key.rpartition("/")[2] for key in store.objects}
        assert not [path for path in fleet.rglob("*") if path.is_file()]


@given(st.integers(1, 10_000))
def test_a_fleet_spreads_its_retries_within_bounds(failures: int) -> None:
    assert 0.5 <= backoff(failures) <= 60


class SpoolMachine(RuleBasedStateMachine):
    """Any order of captures, batches, deliveries and crashes, against a model that is two sets."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.store = Store()
        self.accepted: set[str] = set()
        self.spool = self._open()

    def _open(self) -> Spool:
        return make_spool(self.root / "spool", max_pending=6, max_bytes=20_000)

    def _pipeline(self) -> Pipeline:
        parameters = make_settings(self.root, CaptureDataBatchSize="2", CaptureDataBufferSize="6")
        pipeline = Pipeline(self.spool, parameters, destination=self.store)
        pipeline._batcher.stop()
        return pipeline

    @rule(number=st.integers(0, 30), size=st.integers(0, 600) | st.integers(3000, 6000))
    def capture(self, number: int, size: int) -> None:
        capture_id = f"id-{number}"
        if capture_id in self.accepted:
            with pytest.raises(AlreadyExistsError):
                self.spool.add(make_capture(capture_id, size=size))
            return
        try:
            self.spool.add(make_capture(capture_id, size=size))
        except ResourceExhaustedError:
            return
        self.accepted.add(capture_id)

    @rule()
    def batch(self) -> None:
        self._pipeline()._batch()

    @rule(cut_at=st.none() | st.integers(1, 6))
    def deliver(self, cut_at: int | None) -> None:
        if not self.spool.backlog()[1]:
            return
        self.store.steps, self.store.cut_at = 0, cut_at
        try:
            self._pipeline()._deliver()
        except CutError:
            self.spool = self._open()
        self.store.cut_at = None

    @rule()
    def restart(self) -> None:
        self.spool = self._open()

    @invariant()
    def every_capture_is_in_one_place(self) -> None:
        assert set(self.store.ids().values()) <= {1}
        for capture_id in self.accepted:
            if self.spool.status(capture_id) is Status.SUCCESS:
                assert self.store.ids()[capture_id] == 1
        assert sum(path.stat().st_size for path in (self.root / "spool/pending").iterdir()) <= 20_000

    def teardown(self) -> None:
        drain(self.spool, self.root, self.store)
        assert self.store.ids() == dict.fromkeys(self.accepted, 1)
        shutil.rmtree(self.root)


TestAnyOrder = SpoolMachine.TestCase
TestAnyOrder.settings = hypothesis.settings(max_examples=25, stateful_step_count=25, deadline=None)
