# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from edge_agent.admission import Admission
from edge_agent.errors import CancelledError, DeadlineExceededError, ResourceExhaustedError


class Caller:
    """A caller whose patience the test decides."""

    def __init__(self, *, seconds: float | None = None) -> None:
        self._until = None if seconds is None else time.monotonic() + seconds
        self._gone = False
        self._callbacks: list[Callable[[], None]] = []

    def remaining(self) -> float | None:
        return None if self._until is None else self._until - time.monotonic()

    def active(self) -> bool:
        return not self._gone

    def when_over(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def go_away(self) -> None:
        self._gone = True
        for callback in self._callbacks:
            callback()


class Holder:
    """Takes a place in a thread of its own, and holds it until it is told to leave."""

    def __init__(self, admission: Admission, order: list[int], number: int, caller: Caller) -> None:
        self.leave = threading.Event()
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(admission, order, number, caller))
        self._thread.start()

    def _run(self, admission: Admission, order: list[int], number: int, caller: Caller) -> None:
        try:
            with admission.admitted(caller):
                order.append(number)
                self.leave.wait(10)
        except (CancelledError, DeadlineExceededError) as error:
            self.error = error

    def join(self) -> None:
        self.leave.set()
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture
def waiting_until(eventually: Callable[..., None]) -> Callable[[Admission, int], None]:
    def wait(admission: Admission, count: int) -> None:
        eventually(lambda: len(admission._waiting) == count)

    return wait


def test_they_run_in_the_order_in_which_they_came(
    waiting_until: Callable[[Admission, int], None], eventually: Callable[..., None]
) -> None:
    admission, order = Admission(running=1, waiting=3), list[int]()
    holders = []
    for number in range(4):
        holders.append(Holder(admission, order, number, Caller()))
        eventually(lambda number=number: len(order) + len(admission._waiting) == number + 1)
    with pytest.raises(ResourceExhaustedError, match=r"1 run \(MaxConcurrentPredictions\) and 3 wait"):
        admission.admitted(Caller()).__enter__()
    for number, holder in enumerate(holders):
        eventually(lambda number=number: order == list(range(number + 1)))
        holder.join()
    waiting_until(admission, 0)
    with admission.admitted(Caller()):
        pass


def test_who_is_out_of_time_or_gone_gives_up_the_place_in_the_queue(
    waiting_until: Callable[[Admission, int], None],
) -> None:
    admission, order = Admission(running=1, waiting=2), list[int]()
    first = Holder(admission, order, 0, Caller())
    late, gone = Caller(seconds=0.05), Caller()
    impatient, vanished = Holder(admission, order, 1, late), Holder(admission, order, 2, gone)
    waiting_until(admission, 1)
    impatient.join()
    assert isinstance(impatient.error, DeadlineExceededError)
    gone.go_away()
    waiting_until(admission, 0)
    vanished.join()
    assert isinstance(vanished.error, CancelledError)
    first.join()
    assert order == [0]
    with admission.admitted(Caller()):
        pass


def test_nothing_runs_for_nobody_and_no_place_is_lost() -> None:
    admission = Admission(running=1, waiting=0)
    gone = Caller()
    gone.go_away()
    for caller, error in ((gone, CancelledError), (Caller(seconds=-1), DeadlineExceededError)):
        with pytest.raises(error):
            admission.admitted(caller).__enter__()
    with pytest.raises(ZeroDivisionError), admission.admitted(Caller()):
        raise ZeroDivisionError
    with admission.admitted(Caller()):
        pass


def test_new_bounds_let_those_run_who_wait(
    waiting_until: Callable[[Admission, int], None], eventually: Callable[..., None]
) -> None:
    admission, order = Admission(running=1, waiting=2), list[int]()
    holders = [Holder(admission, order, number, Caller()) for number in range(3)]
    waiting_until(admission, 2)
    admission.resize(running=3, waiting=0)
    eventually(lambda: len(order) == 3)
    with pytest.raises(ResourceExhaustedError, match=r"3 run \(MaxConcurrentPredictions\) and 0 wait"):
        admission.admitted(Caller()).__enter__()
    for holder in holders:
        holder.join()
        assert holder.error is None


def test_never_more_than_the_bound_run_at_once() -> None:
    admission = Admission(running=3, waiting=100)
    lock = threading.Lock()
    running, most = 0, 0

    def work() -> None:
        nonlocal running, most
        for _ in range(50):
            with admission.admitted(Caller(seconds=10)):
                with lock:
                    running += 1
                    most = max(most, running)
                time.sleep(0)
                with lock:
                    running -= 1

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= most <= 3
    assert running == 0


def test_a_deadline_beyond_what_the_clock_can_wait_is_waited_for_and_costs_no_place(
    waiting_until: Callable[[Admission, int], None], eventually: Callable[..., None]
) -> None:
    admission, order = Admission(running=1, waiting=1), list[int]()
    first = Holder(admission, order, 0, Caller())
    eventually(lambda: order == [0])
    second = Holder(admission, order, 1, Caller(seconds=99_999_999 * 3600.0))
    waiting_until(admission, 1)
    first.join()
    eventually(lambda: order == [0, 1])
    second.join()
    assert (admission._running, len(admission._waiting)) == (0, 0)


def test_a_caller_that_fails_while_it_waits_leaves_the_queue() -> None:
    class Broken(Caller):
        def remaining(self) -> float | None:
            raise RuntimeError("the transport broke")

    admission = Admission(running=1, waiting=1)
    with admission.admitted(Caller()), pytest.raises(RuntimeError):
        admission.admitted(Broken()).__enter__()
    assert (admission._running, len(admission._waiting)) == (0, 0)


def test_a_caller_that_fails_when_its_turn_has_come_gives_the_place_back(
    waiting_until: Callable[[Admission, int], None], eventually: Callable[..., None]
) -> None:
    admission, order = Admission(running=1, waiting=1), list[int]()
    first = Holder(admission, order, 0, Caller())
    eventually(lambda: order == [0])

    class Broken(Caller):
        def remaining(self) -> float | None:
            first.join()
            waiting_until(admission, 0)  # the place is this caller's
            raise RuntimeError("the transport broke")

    with pytest.raises(RuntimeError):
        admission.admitted(Broken()).__enter__()
    assert (admission._running, len(admission._waiting)) == (0, 0)
