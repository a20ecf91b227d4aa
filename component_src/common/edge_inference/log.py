# SPDX-License-Identifier: Apache-2.0
"""The log: one JSON object a line on standard output, where the nucleus collects it."""

from __future__ import annotations

import datetime as dt
import json
import sys
import threading

_WRITING = threading.Lock()


def _write(level: str, event: str, fields: dict[str, object]) -> None:
    now = dt.datetime.now(dt.timezone.utc).isoformat(timespec="milliseconds")
    # ASCII: a file's name may hold what the locale of the process cannot write.
    line = json.dumps({"time": now, "level": level, "event": event, **fields}, default=str)
    with _WRITING:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def info(event: str, **fields: object) -> None:
    """Write what happened as it should."""
    _write("INFO", event, fields)


def warning(event: str, **fields: object) -> None:
    """Write what went wrong and is being dealt with."""
    _write("WARNING", event, fields)


def error(event: str, **fields: object) -> None:
    """Write what somebody has to look at."""
    _write("ERROR", event, fields)
