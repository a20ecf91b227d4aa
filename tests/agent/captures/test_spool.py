# SPDX-License-Identifier: Apache-2.0
"""The spool by itself: its bounds, what it finds at a start, and any order of events against a model."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edge_agent.captures import capture
from edge_agent.captures.history import Status
from edge_agent.captures.pipeline import Pipeline
from edge_agent.captures.spool import Spool
from edge_agent.errors import AlreadyExistsError, NotFoundError, ResourceExhaustedError
from tests.agent.captures.doubles import (
    CutError,
    Store,
    drain,
    make_capture,
    make_settings,
    make_spool,
)


def test_what_fits_exactly_is_taken_and_one_byte_more_is_not(tmp_path: Path) -> None:
    size = capture.encode(make_capture("a")).size
    spool = make_spool(tmp_path / "spool", max_bytes=2 * size)
    spool.add(make_capture("a"))
    with pytest.raises(ResourceExhaustedError, match=rf"{size} of {2 * size} \(CaptureSpoolMaxBytes\) are in use"):
        spool.add(make_capture("b", size=4000))
    spool.add(make_capture("b"))
    assert spool.usage() == (2, 2 * size)


def test_a_capture_that_is_being_written_has_its_place_in_the_buffer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = make_spool(tmp_path / "spool", max_pending=1)
    write = spool._captures.write

    def meanwhile(*arguments: Any) -> None:
        with pytest.raises(ResourceExhaustedError, match="CaptureDataBufferSize"):
            spool.add(make_capture("b"))
        write(*arguments)

    monkeypatch.setattr(spool._captures, "write", meanwhile)
    spool.add(make_capture("a"))
    assert spool.backlog() == (1, 0)


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
