# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from local.core_device import guardian
from local.core_device.files import read_json, write_json
from local.core_device.log import event

if TYPE_CHECKING:
    from collections.abc import Mapping

_POLL_SECONDS = 0.02
_STRAY_GRACE_SECONDS = 5.0


class ProcessTable:
    """Starts processes in groups of their own, and sees to it that none outlives the device.

    Every group is known to a guardian process, which ends them if the device is killed, and written to a file, from
    which the next start ends what even the guardian missed.
    """

    def __init__(self, record: Path, *, grace_seconds: float) -> None:
        self._record = record
        self._identities: dict[int, str] = {}
        self._grace_seconds = grace_seconds
        self._guardian: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        """End strays of an earlier device and start the guardian."""
        self._end_strays()
        self._guardian = subprocess.Popen(
            [sys.executable, "-I", "-S", guardian.__file__, str(self._grace_seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def close(self) -> None:
        """End the guardian; every group has been ended before."""
        if self._guardian is not None:
            assert self._guardian.stdin is not None  # noqa: S101 # it was opened with a pipe
            self._guardian.stdin.close()
            self._guardian.wait()
            self._guardian = None

    async def start(
        self, script: str, *, directory: Path, environment: Mapping[str, str], log: Path
    ) -> asyncio.subprocess.Process:
        """Run a shell script in a group of its own, its output added to a log file."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                "/bin/sh",
                "-c",
                script,
                cwd=directory,
                env=dict(environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        self._identities[process.pid] = _identity(process.pid)
        self._tell_guardian(f"+{process.pid}\n")
        self._write_record()
        return process

    async def stop(self, process: asyncio.subprocess.Process, *, seconds: float) -> None:
        """Send SIGTERM to the process's whole group, wait, send SIGKILL to what is left."""
        group = process.pid
        _signal_group(group, signal.SIGTERM)
        deadline = asyncio.get_running_loop().time() + seconds
        # Nothing tells that the last of a group has gone, so it is looked for.
        while _group_exists(group, process) and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_SECONDS)
        _signal_group(group, signal.SIGKILL)
        await process.wait()
        self._forget(group)

    async def finish(self, process: asyncio.subprocess.Process, *, seconds: float) -> int:
        """After a process has exited, end what it left in its group, and give its exit code."""
        code = await process.wait()
        await self.stop(process, seconds=seconds)
        return code

    def _forget(self, group: int) -> None:
        self._tell_guardian(f"-{group}\n")
        self._identities.pop(group, None)
        self._write_record()

    def _tell_guardian(self, line: str) -> None:
        if self._guardian is None or self._guardian.stdin is None:
            raise RuntimeError("the process table is not open")
        try:
            self._guardian.stdin.write(line.encode())
            self._guardian.stdin.flush()
        except BrokenPipeError:
            # Somebody killed the guardian; the record on disk is left.
            event("guardian_lost", level=30)

    def _write_record(self) -> None:
        write_json(self._record, {str(group): identity for group, identity in self._identities.items()})

    def _end_strays(self) -> None:
        strays = {
            int(group)
            for group, identity in read_json(self._record, default={}).items()
            if identity and _identity(int(group)) == identity
        }
        if strays:
            event("strays_ended", level=30, processes=sorted(strays))
            guardian.end_groups(strays, _STRAY_GRACE_SECONDS)
        self._record.unlink(missing_ok=True)


def _identity(pid: int) -> str:
    """What tells a process from a later one with the same number: when it was started; empty if there is none."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        if Path("/proc/self/stat").exists():
            return ""
        command = ["/bin/ps", "-o", "lstart=", "-p", str(pid)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return f"{boot} {fields[19]}"  # the 22nd field, counted from after the name: starttime


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _group_exists(group: int, leader: asyncio.subprocess.Process) -> bool:
    return leader.returncode is None or guardian.is_alive(group)
