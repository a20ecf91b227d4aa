# SPDX-License-Identifier: Apache-2.0
"""Starts what is compared, and measures how long that takes; who does not start is reported as absent."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import candidates, machine
from benchmarks.candidates import PEERS_PYTHON, Candidate, Server
from benchmarks.workers import Worker, WorkerError
from edge_contract.client import AgentClient

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.models import Subject

_START_SECONDS = 90.0
_AGENT_PACKAGES = ("awsiotsdk", "boto3", "cryptography", "grpcio", "hpack", "numpy", "onnxruntime", "protobuf")
#: The agent by its transport; the first one is what devices run unless they are told otherwise.
AGENTS = {"agent": "Http2", "agent, grpcio": "Grpcio"}
_PEERS: dict[str, Callable[[Mapping[str, Path], Path], Server]] = {
    "mlserver": candidates.mlserver,
    "litserve": candidates.litserve,
}


class Contenders:
    """Servers that run, and the ways to ask them.

    Args:
        subjects: The models; the first one is what their start is measured with.
        paths: Their files.
        work: An empty directory.
        running: Stops them.
    """

    def __init__(
        self, subjects: Sequence[Subject], paths: Mapping[str, Path], work: Path, running: contextlib.ExitStack
    ) -> None:
        self._subjects = subjects
        self._paths = paths
        self._work = work
        self._running = running
        self._pids: dict[str, int] = {}
        #: Why something is not compared.
        self.absent: list[str] = []
        #: What is known of each server by its name.
        self.servers: dict[str, dict[str, float]] = {}

    def start(self) -> Iterator[Candidate]:
        """Start all; the first one, which the others are compared with, has no server."""
        yield Candidate("in process", "in_process")
        candidates.write_packages(self._subjects, self._work)
        for name, transport in AGENTS.items():
            server = candidates.agent(self._folder(name), Transport=transport)
            inline = Candidate(f"{name} inline", "agent", server.address, variables=candidates.component_variables())
            shared = dataclasses.replace(inline, name=f"{name} shared memory", shared_memory=True)
            if self._starts(name, server, inline, prepare=self._load):
                self._load_others(server)
                yield from (inline, shared)
        for name, make in _PEERS.items():
            if not PEERS_PYTHON.exists():
                self.absent.append(f"{name}: run `make bench`, which installs it into .venv/peers")
                continue
            server = make(self._paths, self._folder(name))
            candidate = Candidate(name, name, server.address, python=PEERS_PYTHON)
            if self._starts(name, server, candidate):
                yield candidate

    def weigh(self) -> None:
        """Look how much memory each server has come to, with its models and after its work."""
        for name, pid in self._pids.items():
            self.servers[name]["rss_mb"] = machine.resident_mb(pid)

    def _folder(self, name: str) -> Path:
        folder = self._work / name.replace(", ", "-")
        folder.mkdir()
        return folder

    def _starts(
        self, name: str, server: Server, candidate: Candidate, *, prepare: Callable[[Server], None] | None = None
    ) -> bool:
        """Start a server; its first client is there before, so that the time is the server's alone."""
        with contextlib.closing(Worker(candidate, self._subjects[0], self._paths)) as worker:
            try:
                worker.ask("are you there")
                begun = time.perf_counter()
                process = server.start()
                self._running.callback(candidates.stop, process)
                self._wait(server, process)
                empty = machine.resident_mb(process.pid) if prepare else None
                if prepare is not None:
                    prepare(server)
                self._first(worker, process)
            except (WorkerError, TimeoutError) as error:
                self.absent.append(f"{name}: {error}")
                return False
        python, packages = (candidate.python, (name, "onnxruntime")) if prepare is None else _AGENT_INSTALLED
        self.servers[name] = {
            "start_seconds": time.perf_counter() - begun,
            "installed_mb": machine.installed_mb(python, packages),
        }
        if empty is not None:
            self.servers[name]["rss_empty_mb"] = empty
        self._pids[name] = process.pid
        return True

    @staticmethod
    def _wait(server: Server, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not server.listens():
            if process.poll() is not None:
                tail = (server.work / "server.log").read_text(errors="replace").splitlines()[-1:]
                raise TimeoutError(f"it ended with {process.returncode} before it listened: {' '.join(tail)[:300]}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"it did not listen within {_START_SECONDS:g} s")
            time.sleep(0.005)

    @staticmethod
    def _first(worker: Worker, process: subprocess.Popen[bytes]) -> None:
        """Wait for the first prediction: servers listen before their models are loaded."""
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                worker.ask("result")
            except WorkerError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def _load(self, server: Server) -> None:
        with AgentClient(server.address) as client:
            client.load_model(str(self._work / f"package-{self._subjects[0].name}"), self._subjects[0].name)

    def _load_others(self, server: Server) -> None:
        with AgentClient(server.address) as client:
            for subject in self._subjects[1:]:
                client.load_model(str(self._work / f"package-{subject.name}"), subject.name)


_AGENT_INSTALLED = (Path(sys.executable), _AGENT_PACKAGES)
