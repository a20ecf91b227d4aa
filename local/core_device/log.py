# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import datetime as dt
import json
import logging
import sys

LOGGER = logging.getLogger("local.core_device")


class JsonLines(logging.Formatter):
    """One JSON object a line: time (ISO 8601, UTC), level, event, then the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one line."""
        moment = dt.datetime.fromtimestamp(record.created, tz=dt.UTC)
        line = {"time": moment.isoformat(timespec="milliseconds"), "level": record.levelname, "event": record.msg}
        line.update({key: value for key, value in getattr(record, "fields", {}).items() if value != ""})
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def event(name: str, *, level: int = logging.INFO, exc_info: bool = False, **fields: object) -> None:
    """Log what happened, with its circumstances as fields."""
    LOGGER.log(level, name, exc_info=exc_info, extra={"fields": fields})


def log_to_stdout() -> None:
    """Send the device's own log to standard output."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
