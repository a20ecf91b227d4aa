# SPDX-License-Identifier: Apache-2.0
"""Clients in processes of their own, told what to do."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

from benchmarks import candidates

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from benchmarks.candidates import Candidate
    from benchmarks.models import Subject


class WorkerError(Exception):
    """A client failed; the message says how."""


class Worker:
    """A client's process."""

    def __init__(self, candidate: Candidate, subject: Subject, paths: Mapping[str, Path]) -> None:
        spec = candidate.worker_spec(subject, paths)
        self._process = subprocess.Popen(  # noqa: S603 # the project's own program
            [str(candidate.python), "-m", "benchmarks.worker", json.dumps(spec)],
            cwd=candidates.ROOT,
            env={**candidates.environment(), **candidate.variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, do: str, **arguments: object) -> None:
        """Give it a command."""
        assert self._process.stdin is not None  # noqa: S101 # for the type checker
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return  # its answer will be missing

    def answer(self) -> Any:
        """Wait for what it reports.

        Raises:
            WorkerError: It could not do it, or has ended.
        """
        assert self._process.stdout is not None  # noqa: S101 # for the type checker
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(f"its client ended with {self._process.wait(10)}; its error stands above")
        answer = json.loads(line)
        if isinstance(answer, dict):
            raise WorkerError(answer["error"])
        return answer

    def ask(self, do: str, **arguments: object) -> Any:
        """Give it a command and wait."""
        self.tell(do, **arguments)
        return self.answer()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()
