# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def serialize(recipe: Mapping[str, Any]) -> str:
    """Write a recipe as it is deployed: JSON on one line, in the order of its keys."""
    return json.dumps(recipe, separators=(",", ":"), ensure_ascii=False)
