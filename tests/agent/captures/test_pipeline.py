# SPDX-License-Identifier: Apache-2.0
"""Spool and pipeline, cut off at every step: what was kept arrives once, whatever happens between."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.captures.destinations import DeliveryError, Disk, File
from edge_agent.captures.history import Status
from edge_agent.captures.pipeline import Pipeline
from edge_agent.captures.spool import Spool
from edge_agent.captures.worker import backoff
from edge_agent.errors import AlreadyExistsError
from tests.agent.captures.doubles import (
    HOUR,
    CutError,
    Store,
    drain,
    make_capture,
    make_settings,
    make_spool,
)


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


@given(st.integers(1, 10_000))
def test_a_fleet_spreads_its_retries_within_bounds(failures: int) -> None:
    assert 0.5 <= backoff(failures) <= 60
