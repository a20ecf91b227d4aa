# SPDX-License-Identifier: Apache-2.0
"""How many captures a second the agent takes, and how many arrive on its disk for good: beside what the disk can do.

The floor is a program that does nothing but write the same files, as many at a time, and sync them. Rounds of it stand
before and after the agent's, since others use the disk as well. On a file system in memory, syncing costs nothing: the
difference between the two is the disk's.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import candidates
from edge_contract.client import AgentClient, CaptureStatus
from edge_contract.errors import AgentResourceExhaustedError

if TYPE_CHECKING:
    from collections.abc import Iterator

_CLIENTS = 4
_BATCH = 10
_FRAME = (1, 3, 224, 224)  # 600 kB of float32
_START_SECONDS = 90.0
_MEMORY = Path("/dev/shm")  # noqa: S108 # a file system in memory, which is what is measured; only below a new folder


def measure(work: Path, *, records: int, rounds: int = 3) -> dict[str, Any]:
    """Capture records from several threads, on the disk and in memory.

    Args:
        work: An empty directory, with the package of the tiny model beside it.
        records: How many, in each round.
        rounds: How often.

    Returns:
        For ``disk`` and, where there is one, ``memory``: the medians of records a second until they are acknowledged
        (they survive a killed agent), until all of them have the status SUCCESS (they survive a power cut), and of the
        floor, and the second's ratio to the last.
    """
    result: dict[str, Any] = {"records": records, "rounds": rounds}
    result["disk"] = _rounds(work, work.parent / "package-tiny", records, rounds)
    with _memory() as directory:
        if directory is not None:
            result["memory"] = _rounds(directory, work.parent / "package-tiny", records, rounds)
    return result


def floor(directory: Path, *, files: int) -> float:
    """Files a second that are written and synced by ``_BATCH``, each and then their directory."""
    frame = bytes(int(np.prod(_FRAME)) * 4)
    directory.mkdir()
    begun = time.perf_counter()
    for first in range(0, files, _BATCH):
        descriptors = []
        for number in range(first, min(first + _BATCH, files)):
            descriptor = os.open(directory / f"{number}", os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)
            os.write(descriptor, frame)
            descriptors.append(descriptor)
        for descriptor in descriptors:
            os.fdatasync(descriptor)
            os.close(descriptor)
        descriptor = os.open(directory, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    seconds = time.perf_counter() - begun
    shutil.rmtree(directory)
    return files / seconds


def _rounds(work: Path, package: Path, records: int, rounds: int) -> dict[str, float]:
    floors = [floor(work / "floor", files=records)]
    acknowledged, durable = [], []
    agent = candidates.agent(
        work, CaptureDataBufferSize="1000", CaptureDataBatchSize=str(_BATCH), CaptureSpoolMaxBytes=str(2**31)
    )
    server = agent.start()
    try:
        with AgentClient(agent.address, timeout=60.0) as client:
            client.wait_until_ready(_START_SECONDS)
            client.load_model(str(package), "tiny")
            for number in range(rounds):
                taken, arrived = _round(client, work, f"{number}", records)
                acknowledged.append(taken)
                durable.append(arrived)
                shutil.rmtree(work / "capture")
                floors.append(floor(work / "floor", files=records))
    finally:
        candidates.stop(server)
    result = {
        "acknowledged_per_second": statistics.median(acknowledged),
        "durable_per_second": statistics.median(durable),
        "floor_per_second": statistics.median(floors),
    }
    return {**result, "ratio": result["durable_per_second"] / result["floor_per_second"]}


def _round(client: AgentClient, work: Path, name: str, records: int) -> tuple[float, float]:
    begun = time.time()
    threads = [
        threading.Thread(target=_capture, args=(client, name, range(first, records, _CLIENTS)))
        for first in range(_CLIENTS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    acknowledged = time.time() - begun
    for number in reversed(range(records)):
        while (status := client.capture_status(f"{name}-{number}")) is CaptureStatus.IN_PROGRESS:
            time.sleep(0.1)
        if status is not CaptureStatus.SUCCESS:
            raise RuntimeError(f"capture {name}-{number} ended as {status}")
    # Asking takes its time as well: a batch's file was moved here when all of it had been synced.
    arrived = max(path.stat().st_ctime for path in (work / "spool/done").iterdir())
    return records / acknowledged, records / (arrived - begun)


def _capture(client: AgentClient, name: str, numbers: range) -> None:
    frame = np.zeros(_FRAME, np.float32)
    for number in numbers:
        while True:
            try:
                client.capture_data("tiny", f"{name}-{number}", {"x": frame}, {})
                break
            except AgentResourceExhaustedError:  # the buffer is full: the disk is behind
                time.sleep(0.005)


@contextlib.contextmanager
def _memory() -> Iterator[Path | None]:
    if not _MEMORY.is_dir():
        yield None
        return
    directory = Path(tempfile.mkdtemp(prefix="edge-bench-", dir=_MEMORY))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)
