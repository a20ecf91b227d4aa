# SPDX-License-Identifier: Apache-2.0
"""How quickly and in how much memory a model becomes a package, beside what a shell would do with the same bytes."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_package.atomic import written_whole
from edge_package.package_stream import PackageWriter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).parents[1]
MOST_RSS_MB = 300
_MB = 1 << 20
_RUNS = 2
_FILES = {"model.onnx": 0.9, "labels.bin": 0.1}  # shares of the size
_SHELL = "tar -cf - -C {folder} . | gzip -1 | sha256sum"


def write_model(folder: Path, *, megabytes: int) -> None:
    """Write files that do not shrink, as trained weights do not; the same for the same size."""
    generator = np.random.default_rng(0)
    for name, share in _FILES.items():
        with (folder / name).open("wb") as stream:
            for _ in range(max(1, round(megabytes * share))):
                stream.write(generator.bytes(_MB))


def package(folder: Path, target: Path) -> str:
    """Package a folder's files by what the packaging job and edge-model write with; the measured process does it.

    Returns:
        The model digest.
    """
    with written_whole(target) as stream:
        writer = PackageWriter(stream, model_name="benchmark", model_version="1")
        for path in sorted(folder.iterdir()):
            with path.open("rb") as source:
                writer.add(path.name, path.stat().st_size, source)
        return writer.finish().digest


def measure(work: Path, *, megabytes: int) -> dict[str, object]:
    """Package a model and let a shell archive it, in turn.

    Args:
        work: an empty directory with room for three times the model.
        megabytes: size of the model.

    Returns:
        Megabytes a second of both (best of the runs), their ratio, the packager's peak RSS in MB, and whether the
        packages of all runs were the same bytes. None for the shell where it lacks one of the programs.
    """
    folder = work / "model"
    folder.mkdir()
    write_model(folder, megabytes=megabytes)
    size = sum(path.stat().st_size for path in folder.iterdir()) / _MB
    ours, shell, peaks, digests = [], [], [], set()
    for number in range(_RUNS):
        target = work / f"{number}.tar.gz"
        command = [sys.executable, "-m", "benchmarks.packaging", "--package", str(folder), str(target)]
        seconds, output = _timed(command)
        ours.append(size / seconds)
        peaks.append(float(output))
        with target.open("rb") as stream:
            digests.add(hashlib.file_digest(stream, "sha256").hexdigest())
        target.unlink()
        if all(map(shutil.which, ("tar", "gzip", "sha256sum"))):
            seconds, _ = _timed(["/bin/sh", "-c", _SHELL.format(folder=folder)])
            shell.append(size / seconds)
    shutil.rmtree(folder)
    return {
        "megabytes": size,
        "mb_per_second": max(ours),
        "shell_mb_per_second": max(shell, default=None),
        "ratio": max(ours) / max(shell) if shell else None,
        "peak_rss_mb": max(peaks),
        "identical": len(digests) == 1,
    }


def line(figures: Mapping[str, object]) -> str:
    """One line of the report."""
    ratio = "the shell's programs are absent" if figures["ratio"] is None else f"{figures['ratio']:.2f} of"
    runs = "byte-identical" if figures["identical"] else "DIFFERENT"
    return (
        f"**packaging** of {figures['megabytes']:.0f} MB: {figures['mb_per_second']:.0f} MB/s to disk and synced, "
        f"{ratio} `tar | gzip -1 | sha256sum`; peak RSS {figures['peak_rss_mb']:.0f} MB (at most {MOST_RSS_MB}); "
        f"{_RUNS} runs {runs}"
    )


def _timed(command: Sequence[str]) -> tuple[float, str]:
    """Seconds of a process, and what it printed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "component_src" / "common")))}
    begun = time.perf_counter()
    process = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603
    seconds = time.perf_counter() - begun
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}; its error stands above")
    return seconds, process.stdout


def _peak_rss_mb() -> float:
    """Of this process. Linux' getrusage counts what the parent was before the exec as well, /proc does not."""
    status = Path("/proc/self/status")
    if status.exists():
        peak = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MB


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure packaging alone."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.packaging", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1024, help="size of the model (%(default)s)")
    parser.add_argument("--package", nargs=2, type=Path, metavar=("FOLDER", "TARGET"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.package:
        package(*options.package)
        sys.stdout.write(f"{_peak_rss_mb()}\n")
        return 0
    with tempfile.TemporaryDirectory(prefix="edge-packaging-") as work:
        figures = measure(Path(work), megabytes=options.megabytes)
    sys.stdout.write(f"{line(figures)}\n{json.dumps(figures)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
