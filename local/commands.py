# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

_TAIL_LINES = 30


class CommandError(Exception):
    """A command failed or took too long; the message ends with what it printed last."""


def run(command: Sequence[str], *, log: Path, environment: Mapping[str, str], cwd: Path, timeout: float) -> None:
    """Run a command with its output in a file, and end it and its children if it takes too long or we are stopped.

    Args:
        command: program and arguments.
        log: its output; overwritten.
        environment: all of its environment variables.
        cwd: its directory.
        timeout: seconds.

    Raises:
        CommandError: it could not be started, exited with another code than 0, or took longer.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=cwd, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(timeout)
        except BaseException as error:
            kill_group(process)
            if isinstance(error, subprocess.TimeoutExpired):
                raise CommandError(f"{_name(command)} took longer than {timeout:g} s\n{tail(log)}") from error
            raise
    if code:
        raise CommandError(f"{_name(command)} ended with exit code {code}\n{tail(log)}")


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads its own group, with all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def tail(log: Path) -> str:
    """The last lines of a log, under its name."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    return "\n".join([f"{log}:", *lines[-_TAIL_LINES:]])


def _name(command: Sequence[str]) -> str:
    return " ".join([Path(command[0]).name, *command[1:]])
