# SPDX-License-Identifier: Apache-2.0
"""A virtual environment that is either whole or not used.

Layout of a component's work directory:

    venv -> venv-<digest>     what the run script starts; moved in one step
    venv-<digest>/            one for each content of the lock file, Python and machine
    venv-<digest>/installed   the stamp, written last: an environment without it is half made and is made again
    .install.lock             held while one is made, by pip too: a killed install does not race the next
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

STAMP = "installed"
LINK = "venv"
_LOCK = ".install.lock"
_LAYOUT = "1"  # raise it to have every device make its environments again
_LOCK_SECONDS = 540  # below the recipes' install timeout of 600 s, so that the log says why
_OUTPUT_LINES = 20

_HINTS = (
    (r"ensurepip|python3-venv", "install the system's venv package (Debian, Ubuntu: apt-get install python3-venv)"),
    (r"HASHES", "a download is not what was locked: look for a proxy or index that alters packages"),
    (
        r"No space left|Disk quota",
        "make room on the disk of the Greengrass root and of the user's home",
    ),
    (
        r"[Cc]onnection|[Rr]etrying|[Tt]imed out|[Nn]ame resolution|ProxyError|SSLError",
        "the device must reach the package index; PIP_INDEX_URL and PIP_PROXY are honoured",
    ),
    (
        r"No matching distribution",
        "the index or folder has no wheel of this package for this Python, machine and C library (see the lock file)",
    ),
)


class InstallError(Exception):
    """The environment cannot be made. The message says what to do.

    Attributes:
        output: the last lines of the command that failed.
    """

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output


@dataclass(frozen=True)
class Outcome:
    """Which environment is in use, and whether it was made just now."""

    environment: Path
    built: bool


def install(requirements: Path, work: Path, *, log: Callable[..., None], wheels: Path | None = None) -> Outcome:
    """Make `venv` in the work directory hold exactly what a lock file with hashes names.

    Nothing is done when it does already. It may be killed at any moment: what `venv` points at is always whole.

    Args:
        requirements: the lock file.
        work: the component's work directory.
        log: takes level, event and fields.
        wheels: a folder with every wheel that the lock file names; the network is not asked then. None for the index.

    Raises:
        InstallError: it cannot be made; `venv` stays as it was.
    """
    try:
        content = requirements.read_bytes()
    except OSError as error:
        raise InstallError(f"--requirements {requirements}: expected a readable file, got: {error.strerror}") from error
    if wheels is not None and not any(wheels.glob("*.whl")):
        raise InstallError(f"--wheels {wheels}: expected a folder with wheels, got none there: is the artifact whole?")
    link = work / LINK
    if link.exists() and not link.is_symlink():
        raise InstallError(f"{link}: expected a symbolic link or nothing, got something else: remove it")
    target = work / f"{LINK}-{_digest(content)}"
    if _is_whole(target):
        # The process that used another environment has ended by now, so this is the time to remove it.
        _point_link_at(target)
        _remove_others(target, keep=target)
        return Outcome(environment=target, built=False)
    with _lock(work, log) as lock:
        before = _linked(work)
        # One that a deployment may return to, or that a process still runs from, stays until the next start.
        _remove_others(target, keep=before)
        log("INFO", "install_started", environment=target.name, python=sys.version.split()[0])
        _build(target, requirements.resolve(), lock, wheels)
        _write_stamp(target, requirements)
        _point_link_at(target)
    return Outcome(environment=target, built=True)


def _digest(content: bytes) -> str:
    parts = (_LAYOUT, str(sys.implementation.cache_tag), sysconfig.get_platform())
    return hashlib.sha256("\0".join(parts).encode() + b"\0" + content).hexdigest()[:16]


def _is_whole(environment: Path) -> bool:
    # A link to an interpreter that an upgrade of the system removed is no executable file any more.
    return (environment / STAMP).is_file() and os.access(environment / "bin" / "python", os.X_OK)


def _linked(work: Path) -> Path | None:
    link = work / LINK
    return work / link.readlink() if link.is_symlink() else None


def _remove_others(target: Path, *, keep: Path | None) -> None:
    for path in target.parent.glob(f"{LINK}-*"):
        if path not in {keep, target}:
            shutil.rmtree(path, ignore_errors=True)


def _build(target: Path, requirements: Path, lock: int, wheels: Path | None) -> None:
    if target.exists():
        (target / STAMP).unlink(missing_ok=True)
        shutil.rmtree(target)
    _run("python3 -m venv", [sys.executable, "-I", "-m", "venv", str(target)], lock)
    pip = [str(target / "bin" / "python"), "-I", "-m", "pip", "--disable-pip-version-check", "--no-input"]
    arguments = ["--quiet", "--progress-bar", "off", "--no-user", "--root-user-action", "ignore"]
    # No compiler on a device: a package without a fitting wheel is a mistake of the lock, and is said at once.
    locked = ["--require-hashes", "--only-binary", ":all:", "--requirement", str(requirements)]
    # What else the user or the system configured for pip must not lead to the network either.
    source = [] if wheels is None else ["--isolated", "--no-index", "--find-links", str(wheels.resolve())]
    _run("pip install", [*pip, "install", *arguments, *source, *locked], lock)


def _run(name: str, command: list[str], lock: int) -> None:
    try:
        done = subprocess.run(  # noqa: S603 # our own arguments, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            pass_fds=(lock,),
            check=False,
        )
    except OSError as error:
        raise InstallError(f"{name}: {command[0]} cannot be started: {error.strerror}") from error
    if done.returncode:
        output = "\n".join(done.stdout.strip().splitlines()[-_OUTPUT_LINES:])
        hint = next((hint for pattern, hint in _HINTS if re.search(pattern, done.stdout)), "see the output")
        raise InstallError(f"{name} ended with {done.returncode}: {hint}", output)


def _write_stamp(target: Path, requirements: Path) -> None:
    # What pip wrote must reach the disk before the stamp says that it is there.
    os.sync()
    partial = target / f"{STAMP}.partial"
    with partial.open("w", encoding="utf-8") as file:
        json.dump({"requirements": str(requirements), "python": sys.version}, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(target / STAMP)
    _sync_directory(target)


def _point_link_at(target: Path) -> None:
    link = target.parent / LINK
    if link.is_symlink() and link.readlink().name == target.name:
        return
    new = target.parent / f".{LINK}.new"
    new.unlink(missing_ok=True)
    new.symlink_to(target.name)
    new.replace(link)
    _sync_directory(target.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _lock(work: Path, log: Callable[..., None]) -> Iterator[int]:
    descriptor = os.open(work / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + _LOCK_SECONDS
        waiting = False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise InstallError(
                        f"{work / _LOCK}: another install has held it for {_LOCK_SECONDS} s; "
                        "end its pip process, the next start installs again"
                    ) from None
            if not waiting:
                waiting = True
                log("WARNING", "install_waits", reason="another install of this component still runs")
            time.sleep(0.2)
        yield descriptor
    finally:
        os.close(descriptor)
