# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

from benchmarks import candidates, captures, models, report


def test_the_agent_and_the_floor_are_measured_in_one_run_and_reported(tmp_path: Path) -> None:
    candidates.write_packages(models.subjects(quick=True), tmp_path)
    (tmp_path / "captures").mkdir()
    result = captures.measure(tmp_path / "captures", records=20, rounds=1)
    for place in {"disk", "memory"} & result.keys():
        figures = result[place]
        assert min(figures.values()) > 0
        assert figures["ratio"] == figures["durable_per_second"] / figures["floor_per_second"]
    assert not list((tmp_path / "captures").glob("floor*"))
    lines = report._captures(result)
    assert any(line.startswith("| disk") for line in lines)
