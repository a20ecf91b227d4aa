# SPDX-License-Identifier: Apache-2.0
"""Whether one pattern of a policy covers all that another one does: `*` is any text, `?` one character."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable


def covers(pattern: str, other: str) -> bool:
    """Whether all that `other` matches is matched by `pattern`; False where that is not certain."""
    return _compiled(pattern).fullmatch(other) is not None


def any_covers(patterns: Iterable[str], other: str) -> bool:
    """Whether one of the patterns covers the other one."""
    return any(covers(pattern, other) for pattern in patterns)


@functools.lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    # A wildcard of the other pattern is covered by `*` alone: `?` does not stand for `*`.
    parts = {"*": ".*", "?": "[^*]"}
    return re.compile("".join(parts.get(character) or re.escape(character) for character in pattern), re.DOTALL)
