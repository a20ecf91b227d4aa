# SPDX-License-Identifier: Apache-2.0
"""The command line: arguments in, log lines and an exit code out."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from edge_install.environment import InstallError, install


def log(level: str, event: str, **fields: object) -> None:
    """Write one JSON line to standard output."""
    now = dt.datetime.now(dt.timezone.utc).isoformat(timespec="milliseconds")
    sys.stdout.write(json.dumps({"time": now, "level": level, "event": event, **fields}) + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """Install into the current directory, the component's work directory.

    Returns:
        The exit code: 0 when `./venv` is ready, 1 when it cannot be made (the log says why), 2 for bad arguments.
    """
    parser = argparse.ArgumentParser(prog="edge_install", description=install.__doc__)
    parser.add_argument("--requirements", type=Path, required=True, help="lock file with hashes")
    parser.add_argument("--wheels", type=Path, help="folder with every wheel of the lock file; no network is used")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    try:
        outcome = install(options.requirements, Path.cwd(), log=log, wheels=options.wheels)
    except InstallError as error:
        log("ERROR", "install_failed", error=str(error), output=error.output)
        return 1
    log(
        "INFO",
        "installed" if outcome.built else "install_skipped",
        environment=outcome.environment.name,
        seconds=round(time.monotonic() - started, 3),
    )
    return 0
