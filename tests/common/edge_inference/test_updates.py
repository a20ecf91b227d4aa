# SPDX-License-Identifier: Apache-2.0
"""What is answered to a nucleus that wants to update; with a nucleus: tests/inference/image_classification."""

from __future__ import annotations

import threading

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge_inference.nucleus import NucleusError
from edge_inference.updates import HOLD_SECONDS, RECHECK_SECONDS, Updates

PATIENCE = 10.0


class Asked(RuleBasedStateMachine):
    """Questions, passes and time in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.over = 0
        self.updates = Updates(
            lambda _deployment, _seconds: None,
            patience=lambda: PATIENCE,
            over=lambda: setattr(self, "over", self.over + 1),
            clock=lambda: self.now,
        )
        self.in_pass = False
        self.let_through = False  # outside a pass, and nothing was heard since
        self.first: tuple[str, float] | None = None
        self.last = 0.0

    @rule(seconds=st.sampled_from([0.5, 2.0, 7.0, 30.0, HOLD_SECONDS]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(deployment=st.sampled_from(["a", "b"]))
    def ask(self, deployment: str) -> None:
        if self.first is None or self.first[0] != deployment:
            self.first = (deployment, self.now)
        self.last = self.now
        answer = self.updates.decide(deployment)
        if not self.in_pass:
            assert answer == 0
            self.let_through = True
        elif self.now < self.first[1] + PATIENCE:
            assert 0 < answer <= RECHECK_SECONDS
            assert self.now + answer <= self.first[1] + PATIENCE + 1e-6, "patience is not exceeded by the wait"
        else:
            assert answer == 0

    @rule()
    def end(self) -> None:
        before = self.over
        self.updates.end()
        assert self.over == before + 1
        self.first, self.let_through = None, False

    @precondition(lambda self: not self.in_pass)
    @rule()
    def begin(self) -> None:
        held = self.updates.begin_pass()
        self.in_pass = held == 0
        if self.let_through and self.now - self.last < HOLD_SECONDS:
            assert not self.in_pass, "a pass began in an update"
        assert held <= HOLD_SECONDS
        if self.first is None:
            assert self.in_pass, "nobody asked, and no pass began"
        self.let_through = self.let_through and not self.in_pass

    @precondition(lambda self: self.in_pass)
    @rule()
    def finish(self) -> None:
        self.updates.end_pass()
        self.in_pass = False
        if self.first is not None and self.now - self.last >= HOLD_SECONDS:
            self.first = None  # nobody asks any more

    @invariant()
    def passes_go_on_when_nothing_is_heard(self) -> None:
        if self.in_pass:
            return
        now, self.now = self.now, self.now + HOLD_SECONDS + 0.001
        assert self.updates.begin_pass() == 0
        self.now = now
        # Undo the look ahead: a pass that ends where nothing asked changes nothing but what is held.
        self.updates._in_pass = False


TestAsked = Asked.TestCase


def test_a_question_is_answered_in_a_thread_of_its_own_and_a_refused_answer_ends_nothing() -> None:
    answers: list[tuple[str, float]] = []
    refused, answered = threading.Event(), threading.Event()

    def answer(deployment: str, seconds: float) -> None:
        if deployment == "late":
            refused.set()
            raise NucleusError("DeferComponentUpdate: ServiceError: the time to answer is over")
        answers.append((deployment, seconds))
        answered.set()

    updates = Updates(answer, patience=lambda: PATIENCE, over=lambda: None)
    updates.start()
    assert updates.begin_pass() == 0
    updates.ask("late")
    assert refused.wait(10)
    updates.ask("next")
    assert answered.wait(10)
    assert answers == [("next", RECHECK_SECONDS)]
