# SPDX-License-Identifier: Apache-2.0
"""The message that results are published in: Edge Manager's sample components' own, which consumers parse."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence

from edge_inference.task import Result

# The blank at the end is in every message that consumers have ever seen.
_DESCRIPTION = "Top 5 predictions with score 0.3 or above "


def result_message(inference_type: str, results: Sequence[Result], moment: dt.datetime) -> bytes:
    """Write the results of one image as JSON; scores are strings.

    Args:
        inference_type: the task's.
        results: what `best` left; a result with boundaries has them in its entry.
        moment: of the inference, with a time zone.
    """
    message = {
        "timestamp": moment.astimezone(dt.timezone.utc).isoformat(sep=" ", timespec="microseconds"),
        "inference-type": inference_type,
        "inference-description": _DESCRIPTION,
        "inference-results": [_entry(result) for result in results],
    }
    return json.dumps(message).encode()


def _entry(result: Result) -> dict[str, str]:
    entry = {"Label": result.label, "Score": str(result.score)}
    if result.boundaries is not None:
        entry["Boundaries"] = result.boundaries
    return entry
