# SPDX-License-Identifier: Apache-2.0
"""The log: one JSON object a line on standard output, where the nucleus collects it."""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
import uuid

_OWN = "edge_agent"


class JsonFormatter(logging.Formatter):
    """Writes a record as ``time``, ``level``, ``event``, then the fields given as ``extra={"fields": {...}}``."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one line; a library's record becomes the event ``library`` with its message."""
        own = record.name.split(".")[0] == _OWN
        line: dict[str, object] = {
            "time": dt.datetime.fromtimestamp(record.created, dt.timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "event": record.getMessage() if own else "library",
        }
        if not own:
            line.update(logger=record.name, message=record.getMessage())
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(*, verbose: bool) -> None:
    """Send all records to standard output; ``verbose`` adds the agent's own debug records, never a library's."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger(_OWN).setLevel(logging.DEBUG if verbose else logging.INFO)


def log_defect(logger: logging.Logger, *, where: str) -> str:
    """Log the exception being handled with its traceback, and return the error id that stands in for it outside."""
    error_id = uuid.uuid4().hex[:12]
    # ruff cannot see that callers stand in an except block.
    logger.error("internal_error", exc_info=True, extra={"fields": {"error_id": error_id, "where": where}})  # noqa: LOG014
    return error_id
