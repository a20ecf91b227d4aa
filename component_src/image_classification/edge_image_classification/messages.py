# SPDX-License-Identifier: Apache-2.0
"""The message that results are published in: Edge Manager's sample components' own, which consumers parse."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence

from edge_image_classification.postprocessing import Classification

# The blank at the end is in every message that consumers have ever seen.
_DESCRIPTION = "Top 5 predictions with score 0.3 or above "


def result_message(results: Sequence[Classification], moment: dt.datetime) -> bytes:
    """Write the results of one image as JSON; scores are strings.

    Args:
        results: what `postprocessing.best` left.
        moment: of the inference, with a time zone.
    """
    message = {
        "timestamp": moment.astimezone(dt.timezone.utc).isoformat(sep=" ", timespec="microseconds"),
        "inference-type": "image-classification",
        "inference-description": _DESCRIPTION,
        "inference-results": [{"Label": result.label, "Score": str(result.score)} for result in results],
    }
    return json.dumps(message).encode()
