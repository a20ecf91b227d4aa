# SPDX-License-Identifier: Apache-2.0
"""System V shared memory of Linux by ctypes: nothing to build or install, and what the kernel says is not hidden."""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import os
import sys

_IPC_PRIVATE, _IPC_CREAT, _IPC_RMID, _IPC_SET, _IPC_STAT = 0, 0o1000, 0, 1, 2
_SHM_RDONLY, _SHM_DEST = 0o10000, 0o1000
_PERMISSIONS = 0o777
_FAILED = ctypes.c_void_p(-1).value
#: The kernel's identifiers are ints; the wire's are 64 bits wide.
LARGEST_ID = 2**31 - 1


class _Permissions(ctypes.Structure):
    _fields_ = (
        ("key", ctypes.c_int),
        ("uid", ctypes.c_uint),
        ("gid", ctypes.c_uint),
        ("cuid", ctypes.c_uint),
        ("cgid", ctypes.c_uint),
        ("mode", ctypes.c_uint),
        ("seq", ctypes.c_ushort),
        ("pad", ctypes.c_ushort),
        ("unused", ctypes.c_ulong * 2),
    )


class _Segment(ctypes.Structure):
    """shmid_ds as 64-bit Linux has it on every architecture but those that its own headers single out."""

    _fields_ = (
        ("permissions", _Permissions),
        ("size", ctypes.c_size_t),
        ("attach_time", ctypes.c_long),
        ("detach_time", ctypes.c_long),
        ("change_time", ctypes.c_long),
        ("creator", ctypes.c_int),
        ("last", ctypes.c_int),
        ("attachments", ctypes.c_ulong),
        ("unused", ctypes.c_ulong * 2),
    )


@dataclasses.dataclass(frozen=True)
class Status:
    """What the kernel knows of a segment.

    Attributes:
        size: Bytes.
        mode: Permission bits.
        removed: Whether it goes away with its last attachment.
        attachments: How often it is attached, by whomever.
        change_time: Seconds since 1970 of its making or last change of owner or mode.
        creator: The process that made it.
    """

    size: int
    mode: int
    removed: bool
    attachments: int
    change_time: int
    creator: int


def available() -> bool:
    """Whether this machine has what this module describes."""
    return sys.platform == "linux" and sys.byteorder == "little" and ctypes.sizeof(ctypes.c_void_p) == 8  # noqa: PLR2004


@functools.lru_cache(maxsize=1)
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmget.argtypes = (ctypes.c_int, ctypes.c_size_t, ctypes.c_int)
    libc.shmat.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
    libc.shmat.restype = ctypes.c_void_p
    libc.shmdt.argtypes = (ctypes.c_void_p,)
    libc.shmctl.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
    return libc


def create(size: int, mode: int) -> int:
    """Make a segment of zeros and return its id; whoever makes one must see that it is removed.

    Raises:
        OSError: The kernel has none to give.
    """
    return _checked(_libc().shmget(_IPC_PRIVATE, size, _IPC_CREAT | mode), "shmget")


def attach(segment_id: int, *, read_only: bool) -> int:
    """Map a segment and return its address. Linux also lets one that is marked for removal be attached.

    Raises:
        OSError: It does not exist, or may not be attached by this process.
    """
    address = _libc().shmat(segment_id, None, _SHM_RDONLY if read_only else 0)
    if address == _FAILED or address is None:
        raise _error("shmat")
    return int(address)


def detach(address: int) -> None:
    """Unmap what ``attach`` has mapped; no view of it may be used any more.

    Raises:
        OSError: There is no segment at this address.
    """
    _checked(_libc().shmdt(address), "shmdt")


def view(address: int, size: int) -> memoryview:
    """View an attached segment as bytes, writable; valid until it is detached, which the view does not know of."""
    return memoryview((ctypes.c_ubyte * size).from_address(address)).cast("B")


def status(segment_id: int) -> Status:
    """Ask the kernel about a segment.

    Raises:
        OSError: It does not exist, or may not be read by this process.
    """
    found = _Segment()
    _checked(_libc().shmctl(segment_id, _IPC_STAT, ctypes.byref(found)), "shmctl")
    mode = found.permissions.mode & 0xFFFF  # older C libraries have a 16-bit mode and padding there
    return Status(
        size=found.size,
        mode=mode & _PERMISSIONS,
        removed=bool(mode & _SHM_DEST),
        attachments=found.attachments,
        change_time=found.change_time,
        creator=found.creator,
    )


def remove(segment_id: int) -> None:
    """Let a segment go away with its last attachment, at once when there is none.

    Raises:
        OSError: It does not exist, or belongs to someone else.
    """
    _checked(_libc().shmctl(segment_id, _IPC_RMID, None), "shmctl")


def set_mode(segment_id: int, mode: int) -> None:
    """Change a segment's permissions; who has it attached keeps what the attachment allows.

    Raises:
        OSError: It does not exist, or belongs to someone else.
    """
    found = _Segment()
    libc = _libc()
    _checked(libc.shmctl(segment_id, _IPC_STAT, ctypes.byref(found)), "shmctl")
    found.permissions.mode = mode
    _checked(libc.shmctl(segment_id, _IPC_SET, ctypes.byref(found)), "shmctl")


def _checked(result: int, call: str) -> int:
    if result < 0:
        raise _error(call)
    return result


def _error(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")
