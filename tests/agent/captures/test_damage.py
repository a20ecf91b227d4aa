# SPDX-License-Identifier: Apache-2.0
"""Captures on a failing disk: refused or kept, and each told as what it is."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import files
from edge_agent.captures import capture
from edge_agent.captures import spool as spool_module
from edge_agent.captures.destinations import DeliveryError, Disk
from edge_agent.captures.history import Status
from edge_agent.captures.intake import Captures
from edge_agent.captures.pipeline import Pipeline
from edge_agent.captures.spool import Spool
from edge_agent.errors import FailedPreconditionError, NotFoundError, ResourceExhaustedError
from edge_agent.metrics import Metrics
from tests.agent.captures.doubles import (
    Counts,
    Store,
    drain,
    make_capture,
    make_settings,
    make_spool,
    records,
)


def test_a_lost_capture_does_not_become_a_success_with_a_restart(tmp_path: Path) -> None:
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
def test_a_disk_that_recovers_gets_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, failing: str, lost: bool
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


def test_a_batch_that_the_disk_took_in_part_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_batch_whose_captures_cannot_be_removed_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_captures_whose_batch_could_not_be_decided_keep_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = make_spool(tmp_path / "spool")
    for name in ("a", "b", "c"):
        spool.add(make_capture(name))
    pipeline = Pipeline(
        spool, make_settings(tmp_path, CaptureDataBatchSize="2"), destination=Disk(tmp_path / "capture")
    )
    pipeline._batcher.stop()

    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", fail)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            pipeline._batch()
    assert [one.header.capture_id for one in spool._pending.values()] == ["a", "b", "c"]


def test_a_head_that_promises_other_sizes_than_there_are_is_damage(tmp_path: Path) -> None:
    content = capture.encode(make_capture("a", size=8)).content
    content = re.sub(rb', "line_crc32": \d+', b"", content)  # as former versions wrote it, and as it is still read
    capture.decode(content, payload=lambda index: Path(str(index)))
    for size in (b"7", b"9"):
        with pytest.raises(capture.UnreadableCaptureError, match=r"expected \d bytes with CRC"):
            capture.decode(content.replace(b'"NONE", 8]', b'"NONE", ' + size + b"]"), payload=lambda _: tmp_path)


@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_one_wrong_bit_anywhere_in_a_capture_is_noticed(position: int, bit: int) -> None:
    content = bytearray(capture.encode(make_capture("a", size=40)).content)
    content[position % len(content)] ^= 1 << bit
    with pytest.raises(capture.UnreadableCaptureError):
        capture.decode(bytes(content), payload=lambda index: Path(str(index)))


@pytest.mark.parametrize("seconds", [253402300800, 9 * 10**14, -1, 10**30])
def test_a_time_that_no_folder_can_name_loses_one_capture_and_holds_up_no_other(tmp_path: Path, seconds: int) -> None:
    head: dict[str, Any] = {"capture_id": "bad", "model_name": "m", "model_version": "1", "inference_time": seconds}
    pending = tmp_path / "spool/pending"
    pending.mkdir(parents=True)
    (pending / "0000000000000001.capture").write_text(json.dumps({**head, "items": [], "crc32": 0}) + "\n")
    counts, store = Counts(), Store()
    spool = Spool(tmp_path / "spool", max_pending=9, max_bytes=1 << 20, max_history=99, count=counts)
    spool.add(make_capture("good"))
    drain(spool, tmp_path, store)
    assert store.ids() == {"good": 1}
    assert counts["captures_lost"] == 1


def test_what_else_lies_in_the_spool_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = tmp_path / "spool"
    spool = make_spool(root)
    spool.add(make_capture("a"))
    own = [root / "pending/x.capture", root / "pending/1.capture", root / "batches/x.json", root / "done/1-a.json"]
    for path in own:
        path.write_bytes(b"{}")
    (root / "pending/0000000000000007.capture").mkdir()
    store = Store()
    drain(make_spool(root), tmp_path, store)
    assert store.ids() == {"a": 1}
    assert all(path.read_bytes() == b"{}" for path in own)
    assert [one.getMessage() for one in caplog.records].count("spool_file_unknown") == 2


def test_a_file_that_the_disk_cannot_read_is_lost_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, counts, store = tmp_path / "spool", Counts(), Store()
    bounds: dict[str, Any] = {"max_pending": 9, "max_bytes": 1 << 20, "max_history": 99}
    for name in ("a", "b"):
        Spool(root, **bounds).add(make_capture(name))
    bad = min((root / "pending").iterdir())
    opened = Path.open

    def failing(path: Path, *arguments: Any, **options: Any) -> Any:
        if path == bad:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", failing)
    spool = Spool(root, count=counts, **bounds)
    drain(spool, tmp_path, store)
    assert store.ids() == {"b": 1}
    assert counts["captures_lost"] == 1


@pytest.mark.parametrize("size", [16, 4000])
def test_the_bound_is_one_of_the_disk_not_of_what_is_in_the_files(tmp_path: Path, size: int) -> None:
    root, bound = tmp_path / "spool", 1 << 20
    spool = make_spool(root, max_pending=10_000, max_bytes=bound)
    added = 0
    with contextlib.suppress(ResourceExhaustedError):
        while True:
            spool.add(make_capture(f"id-{added}", size=size))
            added += 1
    assert added > 50
    pipeline = Pipeline(spool, make_settings(tmp_path, CaptureDataBatchSize="1"), destination=Store())
    pipeline._batcher.stop()
    while pipeline._batch():  # each has a plan of its own now
        pass
    assert spool.backlog() == (0, added)
    taken = sum(path.stat().st_blocks * 512 for path in root.rglob("*") if path.is_file())
    assert bound / 2 < taken <= bound
    again = make_spool(root, max_pending=10_000, max_bytes=bound)
    assert again.usage() == spool.usage()
