# SPDX-License-Identifier: Apache-2.0
"""Ends the components' process groups when the device dies without ending them itself.

Runs as a process of its own. It reads ``+<group>`` and ``-<group>`` lines from standard input; the end of the input
means that the device is gone. A pipe does this on every system, where the parent-death signal is Linux's alone.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

_POLL_SECONDS = 0.05


def watch(lines: object, grace_seconds: float) -> None:
    """Follow the device's groups until its end, then send SIGTERM and, after the grace, SIGKILL."""
    groups: set[int] = set()
    for line in lines:  # type: ignore[attr-defined] # any iterable of lines
        group = int(line[1:])
        if line[0] == "+":
            groups.add(group)
        else:
            groups.discard(group)
    end_groups(groups, grace_seconds)


def end_groups(groups: set[int], grace_seconds: float) -> None:
    """Send SIGTERM to process groups and, after the grace, SIGKILL to those that are left."""
    remaining = {group for group in groups if _signal(group, signal.SIGTERM)}
    deadline = time.monotonic() + grace_seconds
    while remaining and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        remaining = {group for group in remaining if is_alive(group)}
    for group in remaining:
        _signal(group, signal.SIGKILL)


def is_alive(group: int) -> bool:
    """Tell whether a process group has a member that still runs.

    Orphans that nobody has reaped stay members for as long as that takes; where /proc tells them apart, they do not
    count.
    """
    if not _signal(group, 0):
        return False
    stats = list(Path("/proc").glob("[0-9]*/stat"))
    return not stats or any(_is_running_member(stat, group) for stat in stats)


def _is_running_member(stat: Path, group: int) -> bool:
    try:
        state, _, member_of, *_ = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (OSError, ValueError):  # it has just gone
        return False
    return int(member_of) == group and state not in {"Z", "X"}


def _signal(group: int, number: int) -> bool:
    """Send a signal to a group; tell whether there was one to get it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
        return True
    return False


if __name__ == "__main__":
    # The terminal's Ctrl-C goes to the device, whose end is what counts here.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    watch(sys.stdin, float(sys.argv[1]))
