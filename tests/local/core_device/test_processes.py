# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
CODE = """
import asyncio, pathlib, sys
from local.core_device.processes import ProcessTable

async def main():
    root = pathlib.Path(sys.argv[1])
    table = ProcessTable(root / "processes.json", grace_seconds=5)
    table.open()
    process = await table.start(sys.argv[2], directory=root, environment={"PATH": "/usr/bin:/bin"}, log=root / "log")
    print(process.pid, table._guardian.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def start(root: Path, script: str) -> tuple[subprocess.Popen[str], int, int]:
    command = [sys.executable, "-c", textwrap.dedent(CODE), str(root), script]
    device = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert device.stdout is not None
    pid, guardian = map(int, device.stdout.readline().split())
    device.stdout.close()
    return device, pid, guardian


def wait_until_gone(is_alive: Any, *pids: int) -> None:
    deadline = time.monotonic() + 10
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_killed_device_takes_its_components_with_it(tmp_path: Path, is_alive: Any) -> None:
    script = "trap 'echo bye; exit 0' TERM; (sleep 61 & echo $! > child; wait) & while :; do sleep 0.05; done"
    device, pid, guardian = start(tmp_path, script)
    deadline = time.monotonic() + 5
    while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text().strip():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child = int((tmp_path / "child").read_text())
    assert is_alive(pid)
    device.kill()
    device.wait()
    wait_until_gone(is_alive, pid, child, guardian)
    assert "bye" in (tmp_path / "log").read_text()


def test_the_next_start_ends_what_is_left_even_of_the_guardian(tmp_path: Path, is_alive: Any) -> None:
    device, pid, guardian = start(tmp_path, "exec sleep 60")
    os.kill(guardian, signal.SIGKILL)
    device.kill()
    device.wait()
    assert is_alive(pid)
    second, other, _ = start(tmp_path, "exec sleep 60")
    wait_until_gone(is_alive, pid)
    assert is_alive(other)
    second.kill()
    second.wait()
    wait_until_gone(is_alive, other)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to tell processes apart")
def test_a_process_that_has_the_number_of_a_stray_is_left_alone(tmp_path: Path, is_alive: Any) -> None:
    innocent = subprocess.Popen(["/bin/sleep", "60"], start_new_session=True)
    (tmp_path / "processes.json").write_text(json.dumps({str(innocent.pid): "another boot 123"}))
    device, pid, _ = start(tmp_path, "exec sleep 60")
    assert is_alive(innocent.pid)
    device.kill()
    device.wait()
    innocent.kill()
    innocent.wait()
    wait_until_gone(is_alive, pid)
