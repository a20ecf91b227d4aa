# SPDX-License-Identifier: Apache-2.0
"""How many captures a second the agent takes, and how many arrive on its disk for good."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import candidates
from edge_contract.client import AgentClient, CaptureStatus
from edge_contract.errors import AgentResourceExhaustedError

if TYPE_CHECKING:
    from pathlib import Path

_CLIENTS = 4
_FRAME = (1, 3, 224, 224)  # 600 kB of float32
_START_SECONDS = 90.0


def measure(work: Path, *, records: int) -> dict[str, float]:
    """Capture some records from several threads.

    Args:
        work: An empty directory, with the package of the tiny model beside it.
        records: How many.

    Returns:
        Records a second until they are acknowledged (they survive a killed agent) and until all of them have the
        status SUCCESS (they survive a power cut).
    """
    agent = candidates.agent(
        work, CaptureDataBufferSize="1000", CaptureDataBatchSize="10", CaptureSpoolMaxBytes=str(2**31)
    )
    server = agent.start()
    try:
        with AgentClient(agent.address, timeout=60.0) as client:
            client.wait_until_ready(_START_SECONDS)
            client.load_model(str(work.parent / "package-tiny"), "tiny")
            begun = time.perf_counter()
            threads = [
                threading.Thread(target=_capture, args=(client, range(first, records, _CLIENTS)))
                for first in range(_CLIENTS)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            acknowledged = time.perf_counter() - begun
            for number in range(records):
                while client.capture_status(f"r-{number}") is CaptureStatus.IN_PROGRESS:
                    time.sleep(0.01)
            durable = time.perf_counter() - begun
    finally:
        candidates.stop(server)
    return {
        "records": records,
        "acknowledged_per_second": records / acknowledged,
        "durable_per_second": records / durable,
    }


def _capture(client: AgentClient, numbers: range) -> None:
    frame = np.zeros(_FRAME, np.float32)
    for number in numbers:
        while True:
            try:
                client.capture_data("tiny", f"r-{number}", {"x": frame}, {})
                break
            except AgentResourceExhaustedError:  # the buffer is full: the disk is behind
                time.sleep(0.005)
