# SPDX-License-Identifier: Apache-2.0
"""A candidate that fails is told in the report, and costs the others nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import models, report, rounds
from benchmarks.candidates import Candidate, Server
from benchmarks.contenders import Contenders


@pytest.fixture
def measured(tmp_path: Path) -> dict[str, Any]:
    subject = models.subjects(quick=True)[0]
    path = tmp_path / "tiny.onnx"
    path.write_bytes(subject.content)
    candidates = [
        Candidate("in process", "in_process"),
        Candidate("agent inline", "agent", str(tmp_path / "absent.sock")),
        Candidate("agent shared memory", "in_process"),
    ]
    return rounds.measure(subject, candidates, {subject.name: path}, rounds=1, seconds=0.02)


def test_who_fails_is_named_with_its_reason_and_the_others_are_measured(measured: dict[str, Any]) -> None:
    assert list(measured["candidates"]) == ["in process", "agent shared memory"]
    assert "UNAVAILABLE" in measured["failed"]["agent inline"]
    for figures in measured["candidates"].values():
        assert 0 < figures["p50_us"] <= figures["p99_us"]
        assert figures["per_second_1"] > 0
        assert figures["per_second_2"] > 0
    assert measured["candidates"]["in process"]["ratio"] == 1


def test_the_report_says_what_was_not_measured_and_where_a_peer_is_ahead(measured: dict[str, Any]) -> None:
    machine = dict.fromkeys(("cpu", "cores", "memory_mb", "kernel", "architecture", "python"), 1)
    machine |= dict.fromkeys(("onnxruntime", "grpcio", "numpy", "load_before"), 1)
    ahead = {**measured["candidates"]["in process"], "p50_us": 0.1}
    server = {"start_seconds": 1.0, "rss_mb": 10.0, "installed_mb": 10.0}
    result = {
        "machine": machine,
        "quick": True,
        "minutes": 1,
        "time": "now",
        "absent": ["litserve: it did not listen within 90 s"],
        "models": {"tiny": {**measured, "candidates": {**measured["candidates"], "mlserver": ahead}}},
        "servers": {"agent": server, "mlserver": {**server, "rss_mb": 9.0}},
        "captures": {
            "records": 1,
            "rounds": 1,
            "disk": {
                "acknowledged_per_second": 1.0,
                "durable_per_second": 1.0,
                "floor_per_second": 1.0,
                "ratio": 1.0,
            },
        },
        "packaging": {"megabytes": 1, "mb_per_second": 1.0, "ratio": None, "identical": True, "peak_rss_mb": 1.0},
    }
    text = report.table(result)
    assert "agent inline FAILED: AgentUnavailableError" in text
    assert "tiny, agent inline, added_us: not measured" in text
    assert "tiny p50_us (mlserver 0)" in text
    assert "rss_mb (mlserver 9.0, agent 10.0)" in text
    assert "absent: litserve: it did not listen" in text
    assert "The machine was busy" in text


def test_a_server_that_ends_at_once_is_told_with_its_last_words(tmp_path: Path) -> None:
    server = Server([sys.executable, "-c", "raise SystemExit('no such port')"], "127.0.0.1:1", tmp_path)
    process = server.start()
    with pytest.raises(TimeoutError, match=r"ended with 1 before it listened: no such port"):
        Contenders._wait(server, process)
