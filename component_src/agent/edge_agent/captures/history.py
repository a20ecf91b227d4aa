# SPDX-License-Identifier: Apache-2.0
"""What became of captures: the folder of finished plans, and what is remembered of it."""

from __future__ import annotations

import collections
import contextlib
import enum
import logging
import re
from typing import TYPE_CHECKING

from edge_agent.captures.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_LOG = logging.getLogger(__name__)
_NAME = re.compile(r"\d{16}-[0-9a-f]{32}\.json")


class Status(enum.Enum):
    """How far a capture has come."""

    IN_PROGRESS = "in progress"
    SUCCESS = "arrived"
    FAILURE = "lost"


class History:
    """Finished plans by file name, the oldest first; not for two threads at once.

    Args:
        directory: Where their files are.
        max_captures: How many captures are remembered; the newest plan always is.
    """

    def __init__(self, directory: Path, *, max_captures: int) -> None:
        self.directory = directory
        self._max_captures = max_captures
        self._plans: collections.OrderedDict[str, Plan] = collections.OrderedDict()
        self._statuses: dict[str, Status] = {}
        self._captures = 0

    def __contains__(self, file: str) -> bool:
        return file in self._plans

    def status(self, capture_id: str) -> Status | None:
        """What became of a capture; None when it is not remembered."""
        return self._statuses.get(capture_id)

    def add(self, file: str, plan: Plan) -> list[Path]:
        """Remember a plan whose file is here already, or will be in a moment.

        Returns:
            The files of the plans that are forgotten for it; they are the caller's to remove.
        """
        self._plans[file] = plan
        self._captures += len(plan.members)
        self._statuses.update((member.capture_id, Status.SUCCESS) for member in plan.members)
        self._statuses.update(dict.fromkeys(plan.lost, Status.FAILURE))
        forgotten = []
        while self._captures > self._max_captures and len(self._plans) > 1:
            name, old = self._plans.popitem(last=False)
            self._captures -= len(old.members)
            for member in old.members:
                self._statuses.pop(member.capture_id, None)
            forgotten.append(self.directory / name)
        return forgotten


def read_plans(directory: Path) -> Mapping[str, Plan]:
    """Read the plans of a folder by their file names, the oldest first; one that is damaged is removed and logged."""
    paths = [path for path in sorted(directory.glob("*.json")) if _NAME.fullmatch(path.name)]
    plans = ((path.name, _read_plan(path)) for path in paths)
    return {name: plan for name, plan in plans if plan is not None}


def _read_plan(path: Path) -> Plan | None:
    try:
        return Plan.decode(path.read_bytes())
    except (OSError, ValueError) as error:
        # Its captures become pending again: better to arrive twice than never.
        _LOG.error("batch_plan_unreadable", extra={"fields": {"file": path.name, "error": str(error)}})
        with contextlib.suppress(OSError):
            path.unlink()
        return None
