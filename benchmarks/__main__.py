# SPDX-License-Identifier: Apache-2.0
"""Measures the agent against ONNX Runtime in process and against other servers, side by side in one run.

Everything is asked by the same kind of worker process. Latencies are taken in rounds: in each round every candidate
predicts for a moment, so that whatever else the machine does hits all of them alike, and ratios are those of medians
over all rounds. Candidates that are not installed or fail are named in the report, with the reason.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import captures, machine, models, packaging, report, rounds
from benchmarks.candidates import PEERS_PYTHON, ROOT
from benchmarks.contenders import Contenders


def main() -> int:
    """Run the benchmark; 0 when every candidate that is installed was measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--quick", action="store_true", help="two minutes, without resnet50; figures are rougher")
    parser.add_argument("--output", type=Path, default=ROOT / "build/benchmarks", help="where results are written")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as directory, contextlib.ExitStack() as running:
        result = measure(Path(directory), running, quick=arguments.quick)
    arguments.output.mkdir(parents=True, exist_ok=True)
    report.write(result, arguments.output)
    sys.stdout.write(report.table(result) + f"\n\nwritten to {arguments.output}\n")
    report.plot(arguments.output, PEERS_PYTHON)
    return 1 if any(model["failed"] for model in result["models"].values()) else 0


def measure(work: Path, running: contextlib.ExitStack, *, quick: bool) -> dict[str, Any]:
    """Start everything, measure, and return what was found."""
    begun = time.monotonic()
    result: dict[str, Any] = {"machine": machine.describe(), "quick": quick}
    result["time"] = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    subjects = models.subjects(quick=quick)
    paths = {subject.name: work / f"{subject.name}.onnx" for subject in subjects}
    for subject in subjects:
        paths[subject.name].write_bytes(subject.content)
    contenders = Contenders(subjects, paths, work, running)
    candidates = list(contenders.start())
    many, seconds = (4, 0.7) if quick else (12, 1.0)
    result["models"] = {
        subject.name: rounds.measure(subject, candidates, paths, rounds=many, seconds=seconds) for subject in subjects
    }
    contenders.weigh()
    result |= {"servers": contenders.servers, "absent": contenders.absent}
    running.close()  # captures and packaging are measured with nothing beside them
    (work / "captures").mkdir()
    result["captures"] = captures.measure(work / "captures", records=200 if quick else 1000)
    (work / "packaging").mkdir()
    result["packaging"] = packaging.measure(work / "packaging", megabytes=32 if quick else 1024)
    result["minutes"] = round((time.monotonic() - begun) / 60, 1)
    return result


if __name__ == "__main__":
    sys.exit(main())
