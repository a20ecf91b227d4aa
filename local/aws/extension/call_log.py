# SPDX-License-Identifier: Apache-2.0
import json
import threading
import time
from collections.abc import Mapping
from typing import Any, TextIO

ALLOWED = "Allow"


class CallLog:
    """Every call that was authorised or refused, one JSON object a line, as :mod:`local.aws.calls` reads them.

    Args:
        output: Where the lines go; each is there as soon as :meth:`add` returns.
    """

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._lock = threading.Lock()

    def add(
        self,
        *,
        principal: str,
        service: str,
        action: str | None,
        resource: str,
        context: Mapping[str, Any],
        outcome: str,
    ) -> None:
        """Writes one call; ``context`` are the condition keys of the request, those without a value left out."""
        entry = {
            "time": round(time.time(), 3),
            "principal": principal,
            "service": service,
            "action": action,
            "resource": resource,
            "context": {key: value for key, value in context.items() if value is not None},
            "outcome": outcome,
        }
        line = json.dumps(entry, default=str) + "\n"
        with self._lock:
            self._output.write(line)
            self._output.flush()
