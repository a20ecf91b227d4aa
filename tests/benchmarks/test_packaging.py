# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

from benchmarks import packaging
from edge_package import read_package_file


def test_a_small_model_is_packaged_twice_alike_beside_the_shell(tmp_path: Path) -> None:
    figures = packaging.measure(tmp_path, megabytes=10)
    assert figures["megabytes"] == 10
    assert figures["identical"] is True
    assert float(str(figures["mb_per_second"])) > 0
    # Its interpreter and NumPy are in it; the model is not, as the next test shows.
    assert float(str(figures["peak_rss_mb"])) < packaging.MOST_RSS_MB
    assert "2 runs byte-identical" in packaging.line(figures)
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    peaks = []
    for megabytes in (4, 44):
        work = tmp_path / str(megabytes)
        work.mkdir()
        peaks.append(float(str(packaging.measure(work, megabytes=megabytes)["peak_rss_mb"])))
    assert peaks[1] - peaks[0] < 10


def test_what_is_packaged_is_a_package(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    packaging.write_model(folder, megabytes=1)
    digest = packaging.package(folder, tmp_path / "one.tar.gz")
    assert read_package_file(tmp_path / "one.tar.gz", max_bytes=1 << 24).manifest.digest == digest


def test_a_shell_that_lacks_programs_is_said_to(tmp_path: Path) -> None:
    figures = {**packaging.measure(tmp_path, megabytes=1), "ratio": None, "identical": False}
    assert "programs are absent" in packaging.line(figures)
    assert "runs DIFFERENT" in packaging.line(figures)
