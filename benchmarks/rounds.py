# SPDX-License-Identifier: Apache-2.0
"""One model, asked in rounds: in each round every candidate predicts for a moment."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.workers import Worker, WorkerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from benchmarks.candidates import Candidate
    from benchmarks.models import Subject

_EVERY = 3  # rounds in which throughput is measured as well


@dataclasses.dataclass
class _Contest:
    """A candidate with its two clients and what they measured."""

    candidate: Candidate
    workers: tuple[Worker, Worker]
    latencies: list[int] = dataclasses.field(default_factory=list)
    rates: dict[int, list[float]] = dataclasses.field(default_factory=lambda: {1: [], 2: []})
    failure: str = ""

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """Let a failure end this candidate's part, and no other's."""
        try:
            yield
        except WorkerError as error:
            self.failure = str(error)

    def two_clients(self, seconds: float) -> float:
        """Predictions a second of two clients."""
        if not self.candidate.address:  # two threads on one session
            rate: float = self.workers[0].ask("throughput", seconds=seconds, clients=2)
            return rate
        for worker in self.workers:
            worker.tell("throughput", seconds=seconds, clients=1)
        return sum(float(worker.answer()) for worker in self.workers)


def measure(
    subject: Subject, candidates: Sequence[Candidate], paths: Mapping[str, Path], *, rounds: int, seconds: float
) -> dict[str, Any]:
    """Measure a model.

    Args:
        subject: The model.
        candidates: The first one is what the others are compared with.
        paths: The models' files.
        rounds: How many rounds.
        seconds: How long throughput is measured in each third of them, for one client and for two.

    Returns:
        What it is, the figures of each candidate, and why some are missing.
    """
    sys.stdout.write(f"{subject.name}: {rounds} rounds of {len(candidates)} candidates ...\n")
    sys.stdout.flush()
    with contextlib.ExitStack() as started:
        contests = []
        for candidate in candidates:
            one, other = (
                started.enter_context(contextlib.closing(Worker(candidate, subject, paths))) for _ in range(2)
            )
            contests.append(_Contest(candidate, (one, other)))
        _warm_up(subject, contests)
        for number in range(rounds):
            for contest in contests:
                with contest.attempt():
                    if not contest.failure:
                        contest.latencies += contest.workers[0].ask("latencies", iterations=subject.iterations)
            for contest in contests if number % _EVERY == 0 else ():
                with contest.attempt():
                    if not contest.failure:
                        contest.rates[1].append(contest.workers[0].ask("throughput", seconds=seconds, clients=1))
                        contest.rates[2].append(contest.two_clients(seconds))
    base = contests[0]
    if base.failure:
        raise RuntimeError(f"{subject.name} in process: {base.failure}")
    return {
        "what": subject.what,
        "input_mb": round(subject.megabytes, 3),
        "candidates": {one.candidate.name: _figures(one, base) for one in contests if not one.failure},
        "failed": {one.candidate.name: one.failure for one in contests if one.failure},
    }


def _warm_up(subject: Subject, contests: Sequence[_Contest]) -> None:
    """Have each candidate predict, and hold its results against those of the first."""
    expected: list[float] = contests[0].workers[0].ask("result")
    for contest in contests:
        with contest.attempt():
            for worker in contest.workers:
                result = worker.ask("result")
                if not np.allclose(result, expected, rtol=1e-4, atol=1e-5):
                    raise WorkerError(f"gives {result[:4]}, in process it is {expected[:4]}")
                worker.ask("latencies", iterations=max(subject.iterations // 3, 2))


def _figures(contest: _Contest, base: _Contest) -> dict[str, float]:
    p50, p99 = (float(np.percentile(contest.latencies, percent)) for percent in (50, 99))
    base_p50 = float(np.median(base.latencies))
    rates = {clients: float(np.median(contest.rates[clients])) for clients in (1, 2)}
    base_rates = {clients: float(np.median(base.rates[clients])) for clients in (1, 2)}
    return {
        "p50_us": p50 / 1e3,
        "p99_us": p99 / 1e3,
        "added_us": (p50 - base_p50) / 1e3,
        "ratio": base_p50 / p50,
        "per_second_1": rates[1],
        "per_second_2": rates[2],
        "throughput_ratio_1": rates[1] / base_rates[1],
        "throughput_ratio_2": rates[2] / base_rates[2],
        "samples": len(contest.latencies),
    }
