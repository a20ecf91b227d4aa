# SPDX-License-Identifier: Apache-2.0
"""Measures the agent against ONNX Runtime in process and against other servers, side by side in one run.

Everything is asked by the same kind of worker process. Latencies are taken in rounds: in each round every candidate
predicts for a moment, so that whatever else the machine does hits all of them alike, and ratios are those of medians
over all rounds. Candidates that are not installed are named in the report as absent.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import candidates, captures, machine, models, packaging, report
from benchmarks.candidates import PEERS_PYTHON, ROOT, Candidate
from edge_contract.client import AgentClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.models import Subject

_START_SECONDS = 90.0
_AGENT_PACKAGES = ("awsiotsdk", "boto3", "cryptography", "grpcio", "numpy", "onnxruntime", "protobuf")


class Worker:
    """A client's process."""

    def __init__(self, candidate: Candidate, subject: Subject, paths: Mapping[str, Path]) -> None:
        spec = candidate.worker_spec(subject, paths)
        self._process = subprocess.Popen(  # noqa: S603 # the project's own program
            [str(candidate.python), "-m", "benchmarks.worker", json.dumps(spec)],
            cwd=ROOT,
            env=candidates.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, do: str, **arguments: object) -> None:
        """Give it a command."""
        assert self._process.stdin is not None  # noqa: S101 # for the type checker
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """Wait for what it reports."""
        assert self._process.stdout is not None  # noqa: S101 # for the type checker
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a worker ended with {self._process.wait(10)}; its error stands above")
        return json.loads(line)

    def ask(self, do: str, **arguments: object) -> Any:
        """Give it a command and wait."""
        self.tell(do, **arguments)
        return self.answer()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def main() -> int:
    """Run the benchmark; 0 when every candidate that is installed was measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--quick", action="store_true", help="under a minute, without resnet50; figures are rougher")
    parser.add_argument("--output", type=Path, default=ROOT / "build/benchmarks", help="where results are written")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as directory, contextlib.ExitStack() as started:
        result = measure(Path(directory), started, quick=arguments.quick)
    arguments.output.mkdir(parents=True, exist_ok=True)
    report.write(result, arguments.output)
    sys.stdout.write(report.table(result) + f"\n\nwritten to {arguments.output}\n")
    report.plot(arguments.output, PEERS_PYTHON)
    return 0


def measure(work: Path, started: contextlib.ExitStack, *, quick: bool) -> dict[str, Any]:
    """Start everything, measure, and return what was found."""
    subjects = models.subjects(quick=quick)
    paths = {subject.name: work / f"{subject.name}.onnx" for subject in subjects}
    for subject in subjects:
        paths[subject.name].write_bytes(subject.content)
    result: dict[str, Any] = {"machine": machine.describe(), "quick": quick, "absent": [], "servers": {}}
    result["time"] = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    contenders = list(_start_all(subjects, paths, work, started, result))
    result["models"] = {subject.name: _measure_model(subject, contenders, paths, quick=quick) for subject in subjects}
    for candidate in contenders:
        if candidate.server is not None:
            result["servers"][candidate.transport]["rss_mb"] = machine.resident_mb(candidate.server.pid)
    (work / "captures").mkdir()
    result["captures"] = captures.measure(work / "captures", records=200 if quick else 1000)
    (work / "packaging").mkdir()
    result["packaging"] = packaging.measure(work / "packaging", megabytes=32 if quick else 1024)
    return result


def _start_all(
    subjects: Sequence[Subject],
    paths: Mapping[str, Path],
    work: Path,
    started: contextlib.ExitStack,
    result: dict[str, Any],
) -> Iterator[Candidate]:
    yield Candidate("in process", "in_process")
    candidates.write_packages(subjects, work)
    begun = time.perf_counter()
    server, address = candidates.start_agent(work)
    started.callback(candidates.stop, server)
    with AgentClient(address) as client:
        client.wait_until_ready(_START_SECONDS)
        empty = machine.resident_mb(server.pid)
        client.load_model(str(work / "package-tiny"), "tiny")
        client.predict("tiny", {"x": np.zeros((1, 6, 20, 20), np.float32)})
        first = time.perf_counter() - begun
        for subject in subjects[1:]:
            client.load_model(str(work / f"package-{subject.name}"), subject.name)
    result["servers"]["agent"] = {
        "start_seconds": first,
        "rss_empty_mb": empty,
        "installed_mb": machine.installed_mb(Path(sys.executable), _AGENT_PACKAGES),
    }
    yield Candidate("agent inline", "agent", address, server=server)
    yield Candidate("agent shared memory", "agent", address, shared_memory=True, server=server)
    starters: dict[str, Callable[..., Any]] = {
        "mlserver": candidates.start_mlserver,
        "litserve": candidates.start_litserve,
    }
    for name, starter in starters.items():
        if not PEERS_PYTHON.exists():
            result["absent"].append(f"{name}: run `make bench`, which installs it into .venv/peers")
            continue
        begun = time.perf_counter()
        server, address = starter(paths, work)
        started.callback(candidates.stop, server)
        candidate = Candidate(name, name, address, python=PEERS_PYTHON, server=server)
        if not _answers(candidate, subjects[0], paths):
            result["absent"].append(f"{name}: it did not answer within {_START_SECONDS:g} s")
            continue
        result["servers"][name] = {
            "start_seconds": time.perf_counter() - begun,
            "installed_mb": machine.installed_mb(PEERS_PYTHON, (name, "onnxruntime")),
        }
        yield candidate


def _answers(candidate: Candidate, subject: Subject, paths: Mapping[str, Path]) -> bool:
    host, port = candidate.address.split(":")
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and candidate.server is not None and candidate.server.poll() is None:
        if candidates.listens(host, int(port)):
            worker = Worker(candidate, subject, paths)
            try:
                worker.ask("result")
            except RuntimeError:
                time.sleep(0.5)  # it listens, but its models are not loaded yet
            else:
                return True
            finally:
                worker.close()
        time.sleep(0.02)
    return False


def _measure_model(
    subject: Subject, contenders: Sequence[Candidate], paths: Mapping[str, Path], *, quick: bool
) -> dict[str, Any]:
    rounds, seconds = (4, 0.7) if quick else (12, 1.2)
    sys.stdout.write(f"{subject.name}: {rounds} rounds of {len(contenders)} candidates ...\n")
    sys.stdout.flush()
    workers = [[Worker(candidate, subject, paths) for _ in range(2)] for candidate in contenders]
    try:
        _check_results(subject, contenders, [pair[0].ask("result") for pair in workers])
        latencies: list[list[int]] = [[] for _ in contenders]
        rates: list[dict[int, list[float]]] = [{1: [], 2: []} for _ in contenders]
        for pair in workers:
            pair[0].ask("latencies", iterations=max(subject.iterations // 3, 2))  # warms up
            pair[1].ask("result")
        for number in range(rounds):
            for index, pair in enumerate(workers):
                latencies[index] += pair[0].ask("latencies", iterations=subject.iterations)
            if number % 3 == 0:
                for index, (candidate, pair) in enumerate(zip(contenders, workers, strict=True)):
                    rates[index][1].append(pair[0].ask("throughput", seconds=seconds, clients=1))
                    rates[index][2].append(_two_clients(candidate, pair, seconds))
    finally:
        for pair in workers:
            for worker in pair:
                worker.close()
    base = float(np.median(latencies[0]))
    base_rates = {clients: float(np.median(rates[0][clients])) for clients in (1, 2)}
    return {
        "what": subject.what,
        "input_mb": round(subject.megabytes, 3),
        "candidates": {
            candidate.name: _figures(latencies[index], rates[index], base, base_rates)
            for index, candidate in enumerate(contenders)
        },
    }


def _two_clients(candidate: Candidate, pair: Sequence[Worker], seconds: float) -> float:
    if candidate.server is None:  # two threads on one session
        rate: float = pair[0].ask("throughput", seconds=seconds, clients=2)
        return rate
    for worker in pair:
        worker.tell("throughput", seconds=seconds, clients=1)
    return sum(float(worker.answer()) for worker in pair)


def _figures(
    latencies: Sequence[int], rates: Mapping[int, Sequence[float]], base: float, base_rates: Mapping[int, float]
) -> dict[str, float]:
    p50, p99 = (float(np.percentile(latencies, percent)) for percent in (50, 99))
    throughput = {clients: float(np.median(rates[clients])) for clients in (1, 2)}
    return {
        "p50_us": p50 / 1e3,
        "p99_us": p99 / 1e3,
        "added_us": (p50 - base) / 1e3,
        "ratio": base / p50,
        "per_second_1": throughput[1],
        "per_second_2": throughput[2],
        "throughput_ratio_1": throughput[1] / base_rates[1],
        "throughput_ratio_2": throughput[2] / base_rates[2],
        "samples": len(latencies),
    }


def _check_results(subject: Subject, contenders: Sequence[Candidate], results: Sequence[Sequence[float]]) -> None:
    for candidate, result in zip(contenders, results, strict=True):
        if not np.allclose(result, results[0], rtol=1e-4, atol=1e-5):
            raise RuntimeError(
                f"{subject.name}: {candidate.name} gives {result[:4]}, in process it is {results[0][:4]}"
            )


if __name__ == "__main__":
    sys.exit(main())
