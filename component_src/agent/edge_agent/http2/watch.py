# SPDX-License-Identifier: Apache-2.0
"""Ends what a peer began and does not go on with, however slowly it trickles."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from edge_agent.http2.overseer import Timed

_PERIOD_SECONDS = 60.0


class Watch:
    """Looks at a connection once in a period; calls and frames that come whole meanwhile cost nothing.

    Args:
        begun: What is half done at this moment: two looks find the same only if it is still the same. Must not wait.
        expect: Calls ``late`` when the deadline is over; see ``overseer``.
        end: Called when something was half done for a whole period, thus after one to two periods.
    """

    def __init__(
        self, begun: Callable[[], AbstractSet[object]], *, expect: Callable[[Timed], None], end: Callable[[], None]
    ) -> None:
        self.deadline: float | None = time.monotonic() + _PERIOD_SECONDS
        self._begun = begun
        self._expect = expect
        self._end = end
        self._before: AbstractSet[object] = frozenset()

    def late(self) -> None:
        """A period is over."""
        begun = self._begun()
        if begun & self._before:
            self._end()
            return
        self._before = begun
        self.deadline = time.monotonic() + _PERIOD_SECONDS
        self._expect(self)
