# SPDX-License-Identifier: Apache-2.0
"""A spool that gives up its oldest captures for new ones when there is no room."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.captures import capture
from edge_agent.captures.history import Status
from edge_agent.captures.pipeline import Pipeline
from edge_agent.captures.spool import Spool
from edge_agent.errors import ResourceExhaustedError
from tests.agent.captures.doubles import (
    Counts,
    Store,
    make_capture,
    make_settings,
)

SMALL = capture.encode(make_capture("id-0")).size


class TestDropOldest:
    def spool(self, root: Path, counts: Counts, **bounds: int) -> Spool:
        limits = {"max_pending": 100, "max_bytes": 3 * SMALL, "max_history": 1000, **bounds}
        return Spool(root, drop_oldest=True, count=counts, **limits)

    def test_the_newest_is_kept_and_the_oldest_fails(self, tmp_path: Path) -> None:
        counts = Counts()
        spool = self.spool(tmp_path / "spool", counts, max_pending=3, max_bytes=9 * SMALL)
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
        spool = self.spool(tmp_path / "spool", counts, max_bytes=4 * SMALL)
        pipeline = Pipeline(spool, make_settings(tmp_path, CaptureDataBatchSize="2"), destination=store)
        pipeline._batcher.stop()
        for number in range(2):
            spool.add(make_capture(f"old-{number}", size=100))
        pipeline._batch()
        for number in range(10):
            spool.add(make_capture(f"new-{number}", size=100))
        assert spool.status("old-0") is spool.status("old-1") is Status.FAILURE
        assert spool.status("new-9") is Status.IN_PROGRESS
        assert spool.usage()[1] <= 4 * SMALL
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
        spool = self.spool(tmp_path / "spool", counts, max_bytes=2 * SMALL - 1)
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
    @given(sizes=st.lists(st.integers(1, 20_000), min_size=1, max_size=12))
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
                assert capture.encode(one).size > 3 * SMALL
                continue
            accepted += 1
            assert spool.status(f"id-{number}") is Status.IN_PROGRESS
            taken = sum(capture.on_disk(path.stat().st_size) for path in (root / "pending").iterdir())
            assert taken + capture.PLAN_BYTES * spool.usage()[0] == spool.usage()[1] <= 3 * SMALL
        assert accepted == counts.get("captures_dropped", 0) + spool.usage()[0]
