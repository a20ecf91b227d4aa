# SPDX-License-Identifier: Apache-2.0
"""Whether the nucleus may update now: not in the middle of a pass, unless that takes too long."""

from __future__ import annotations

import threading
import time
from typing import Callable

from edge_inference import log
from edge_inference.nucleus import NucleusError

# After that time the nucleus asks again. So long does the device wait after a pass, at the most.
RECHECK_SECONDS = 2.0
# So long is no pass begun after a yes. The nucleus may be waiting for other components, and asks again if so.
HOLD_SECONDS = 60.0


class Updates:
    """Answers the nucleus's question, in a thread of its own, as the loop may be waiting for the agent.

    The first question of a deployment that comes in a pass is answered with "later", for `patience` seconds in all;
    then, and between passes, with "now". After a "now" no pass begins until the update is over.

    Args:
        answer: sends the answer to the question of a deployment: in how many seconds it is to be asked again, 0 being
            "now". May raise `NucleusError`.
        patience: for how long updates are put off; may change at any time.
        over: called when an update is over, in any thread.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        answer: Callable[[str, float], None],
        *,
        patience: Callable[[], float],
        over: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._answer = answer
        self._patience = patience
        self._over = over
        self._clock = clock
        self._condition = threading.Condition()
        self._asked: str | None = None
        self._first: tuple[str, float] | None = None  # the deployment, and when it asked first
        self._last = 0.0  # when it was asked last
        self._in_pass = False
        self._held_until = 0.0

    def start(self) -> None:
        """Answer from now on, until the process ends."""
        threading.Thread(target=self._answer_forever, name="updates", daemon=True).start()

    def ask(self, deployment_id: str) -> None:
        """Take the nucleus's question; returns at once."""
        with self._condition:
            self._asked = deployment_id
            self._condition.notify_all()

    def end(self) -> None:
        """Take the nucleus's word that the update is over, or that it is another nucleus, which asked nothing."""
        with self._condition:
            self._asked = self._first = None
            self._held_until = 0.0
        self._over()

    def begin_pass(self) -> float:
        """Begin a pass, unless an update was let through.

        Returns:
            0 when it began, else the seconds after which to try again.
        """
        with self._condition:
            held = max(0.0, self._held_until - self._clock())
            self._in_pass = held == 0
            return held

    def end_pass(self) -> None:
        """Say that the pass is over; an update that waits for that is let through at the next question."""
        with self._condition:
            self._in_pass = False
            now = self._clock()
            if self._first is not None and now - self._last < HOLD_SECONDS:
                self._held_until = now + HOLD_SECONDS
            else:  # nobody asks any more
                self._first = None

    def _answer_forever(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._asked is not None)
                deployment_id, self._asked = self._asked, None
                assert deployment_id is not None  # noqa: S101 # that was waited for
            try:
                self._answer(deployment_id, self.decide(deployment_id))
            except NucleusError as error:  # it goes on without an answer when its patience ends
                log.warning("update_not_answered", deployment=deployment_id, error=str(error))

    def decide(self, deployment_id: str) -> float:
        """Decide on a question: 0 for "now", else the seconds after which it is to be asked again."""
        with self._condition:
            return self._decide(deployment_id)

    def _decide(self, deployment_id: str) -> float:
        now = self._last = self._clock()
        new = self._first is None or self._first[0] != deployment_id
        if self._first is None or new:
            self._first = (deployment_id, now)
        left = self._first[1] + self._patience() - now
        if self._in_pass and left > 0:
            if new:
                log.info("update_deferred", deployment=deployment_id, at_most_seconds=round(left, 3))
            return min(RECHECK_SECONDS, left)
        if not self._in_pass:
            self._held_until = now + HOLD_SECONDS
        log.info("update_awaited", deployment=deployment_id, in_pass=self._in_pass)
        return 0.0
