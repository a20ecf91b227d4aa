# SPDX-License-Identifier: Apache-2.0
"""Captures as the agent takes them in: strict offline mode, and other parameters while it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent import settings
from edge_agent.captures.history import Status
from edge_agent.captures.intake import Captures
from edge_agent.errors import FailedPreconditionError, ResourceExhaustedError
from edge_agent.metrics import Metrics
from tests.agent.captures.doubles import (
    Store,
    make_capture,
    make_settings,
    records,
)


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
        assert captures.status("a") is Status.IN_PROGRESS
        assert captures._metrics.counters()["captures_refused"] == 0


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
