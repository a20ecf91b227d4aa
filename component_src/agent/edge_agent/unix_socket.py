# SPDX-License-Identifier: Apache-2.0
"""The agent's place: a unix socket and a spool that no second agent may take."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from edge_agent.files import make_directory
from edge_contract.limits import MAX_SOCKET_PATH_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator


class OccupiedError(Exception):
    """The socket or the spool cannot be taken; the message says by whom it is held, or what stands there."""


@contextlib.contextmanager
def exclusive(path: Path, *, what: str) -> Iterator[None]:
    """Hold a lock file while the block runs. The file stays: removing it would let two processes hold two locks.

    Args:
        path: The lock file.
        what: What it stands for, for the message.

    Raises:
        OccupiedError: Another process holds it, or it cannot be made.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise OccupiedError(
            f"{what}: its lock file {path}{_owner(path)} cannot be opened: {error.strerror}; remove it if no agent "
            "runs there, or name another place"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise OccupiedError(
                f"{what}: expected it free, but another agent (process {holder}) holds {path}; stop that one first"
            ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)


def _owner(path: Path) -> str:
    """Whose file it is, for the message: another user's, when an agent ran as that user before."""
    try:
        owner = path.lstat().st_uid
    except OSError:
        return ""
    return f" of the user {owner} (this process's is {os.geteuid()})" if owner != os.geteuid() else ""


def make_own_directory(path: Path, *, what: str) -> None:
    """Make a directory that the agent writes to.

    Args:
        path: The directory.
        what: The parameter that it comes from, for the message.

    Raises:
        OccupiedError: It cannot be made.
    """
    try:
        make_directory(path)
    except OSError as error:
        raise OccupiedError(
            f"{what}: expected a place where this process may write, got {error.strerror} at {error.filename}; "
            "give its user the right, or name another place"
        ) from error


def check_length(path: Path, *, name: str = "UnixSocketName") -> None:
    """Refuse a path that the kernel would refuse.

    Raises:
        OccupiedError: The path is too long.
    """
    length = len(os.fsencode(path))
    if length > MAX_SOCKET_PATH_BYTES:
        raise OccupiedError(f"{name}: expected at most {MAX_SOCKET_PATH_BYTES} bytes, got {length}; shorten {path}")


def knock(path: Path) -> int:
    """Try to connect without waiting; 0 when a process listens, EAGAIN when so many wait for it that none is added."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # noqa: FBT003 # the socket's own signature
        return probe.connect_ex(str(path))


def claim(path: Path, *, name: str = "UnixSocketName") -> None:
    """Make the path free for the server, which would take a socket from a living owner without a word.

    Raises:
        OccupiedError: Something else than an old socket is there.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OccupiedError(f"{name}: expected {path} to be free or an old socket, got another kind of file")
    code = knock(path)
    if code == errno.EAGAIN:
        raise OccupiedError(
            f"{name}: expected {path} to be free, but a process holds it and takes no clients: it is stopped "
            "or hangs; end it first"
        )
    if code == 0:
        raise OccupiedError(f"{name}: expected {path} to be free, but a process listens there; stop it first")
    try:
        if code != errno.ECONNREFUSED:
            raise OSError(code, os.strerror(code))  # noqa: TRY301 # the same message for both
        path.unlink()
    except OSError as error:
        raise OccupiedError(f"{name}: the old socket {path} cannot be replaced: {error.strerror}") from error


def bind(listen: Callable[[Path], None], path: Path, *, mode: int, group: str, name: str = "UnixSocketName") -> None:
    """Let a server listen at a path that was claimed, with no more than the given permissions at any moment.

    Raises:
        OccupiedError: The socket cannot be made, or its group cannot be set.
    """
    before = os.umask(0o177)
    try:
        listen(path)
    except OSError as error:
        raise OccupiedError(
            f"{name}: {path} cannot be bound ({error}); does its directory exist and may we write there?"
        ) from error
    finally:
        os.umask(before)
    try:
        if group:
            shutil.chown(path, group=int(group) if group.isdigit() else group)
    except (LookupError, OSError) as error:
        raise OccupiedError(f"UnixSocketGroup: {path} cannot be given to the group {group!r}: {error}") from error
    path.chmod(mode)
