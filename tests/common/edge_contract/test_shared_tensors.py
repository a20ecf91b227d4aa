# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import numpy as np
import pytest

from edge_contract import sysv
from edge_contract.shared_tensors import SharedTensor, SharedTensorRing


def exists(segment_id: int) -> bool:
    try:
        sysv.status(segment_id)
    except OSError:
        return False
    return True


class TestSharedTensor:
    def test_it_is_read_only_for_others_and_writable_here(self) -> None:
        tensor = SharedTensor(1000)
        status = sysv.status(tensor.segment_id)
        assert (status.mode, status.removed, status.attachments, status.creator) == (0o400, True, 1, os.getpid())
        array = tensor.array((10, 5), np.float32)
        array[:] = 7
        # As the agent does it: attached by its id, though it is marked for removal.
        address = sysv.attach(tensor.segment_id, read_only=True)
        assert bytes(sysv.view(address, 200)) == array.tobytes()
        tensor.close()
        assert sysv.status(tensor.segment_id).attachments == 1
        sysv.detach(address)
        assert not exists(tensor.segment_id)

    def test_what_does_not_fit_or_is_closed_is_refused(self) -> None:
        tensor = SharedTensor(8)
        tensor.array((2,), np.float32)
        for shape in ((3,), (2**40, 2**40)):
            with pytest.raises(ValueError, match="expected at most 8 bytes"):
                tensor.array(shape, np.float32)
        tensor.close()
        tensor.close()
        with pytest.raises(ValueError, match="closed"):
            tensor.array((1,), np.uint8)

    @pytest.mark.parametrize("moment", ["after it was made", "while the agent has it"])
    def test_a_killed_client_leaves_nothing(self, moment: str) -> None:
        program = (
            "import sys, time; from edge_contract.shared_tensors import SharedTensor; t = SharedTensor(1 << 20); "
            "t.array((4,), 'u1')[:] = 5; print(t.segment_id, flush=True); time.sleep(60)"
        )
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment) as client:
            assert client.stdout is not None
            segment_id = int(client.stdout.readline())
            address = sysv.attach(segment_id, read_only=True) if "agent" in moment else None
            client.send_signal(signal.SIGKILL)
        if address is not None:
            assert bytes(sysv.view(address, 4)) == b"\5\5\5\5"  # the agent goes on reading
            sysv.detach(address)
        assert not exists(segment_id)


class TestRing:
    def test_segments_are_used_again(self) -> None:
        ring = SharedTensorRing()
        ids = set()
        for size in (300_000, 290_000, 300_000):
            with ring.borrow(size) as segment:
                assert segment is not None
                assert segment.size >= size
                ids.add(segment.segment_id)
        assert len(ids) == 1
        ring.close()
        assert not exists(ids.pop())

    def test_two_at_the_same_time_are_two(self) -> None:
        ring = SharedTensorRing()
        with ring.borrow(5000) as one, ring.borrow(5000) as other:
            assert one is not None
            assert other is not None
            assert one.segment_id != other.segment_id
        ring.close()

    def test_bounds_leave_none_but_make_room_where_nobody_uses_it(self) -> None:
        ring = SharedTensorRing(max_bytes=100 * 4096, max_segments=2)
        with ring.borrow(60 * 4096) as large:
            assert large is not None
            with ring.borrow(60 * 4096) as none:
                assert none is None
            with ring.borrow(4096) as small, ring.borrow(4096) as third:
                assert small is not None
                assert third is None
        with ring.borrow(100 * 4096) as whole:
            assert whole is not None
            assert not exists(large.segment_id)
            assert not exists(small.segment_id)
        ring.close()

    def test_a_failed_calls_segment_is_not_used_again(self) -> None:
        ring = SharedTensorRing()
        with pytest.raises(ZeroDivisionError), ring.borrow(5000) as failed:
            raise ZeroDivisionError
        assert failed is not None
        assert not exists(failed.segment_id)

    def test_closing_waits_for_what_is_borrowed(self) -> None:
        ring = SharedTensorRing()
        with ring.borrow(5000) as segment:
            assert segment is not None
            ring.close()
            segment.array((10,), np.uint8)[:] = 1
        assert not exists(segment.segment_id)
        with ring.borrow(5000) as none:
            assert none is None

    def test_the_kernels_refusal_means_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> int:
            raise OSError(28, "shmget: No space left on device")

        monkeypatch.setattr(sysv, "create", full)
        with SharedTensorRing().borrow(5000) as none:
            assert none is None

    def test_many_threads_never_share_one(self) -> None:
        ring = SharedTensorRing(max_segments=4)
        clashes: list[int] = []

        def use(mark: int) -> None:
            for _ in range(200):
                with ring.borrow(5000) as segment:
                    if segment is None:
                        continue
                    array = segment.array((100,), np.int64)
                    array[:] = mark
                    if not (array == mark).all():
                        clashes.append(mark)

        threads = [threading.Thread(target=use, args=(mark,)) for mark in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ring.close()
        assert not clashes

    def test_a_forked_child_has_segments_of_its_own(self) -> None:
        ring = SharedTensorRing()
        with ring.borrow(5000) as parents:
            assert parents is not None
        child = os.fork()
        if not child:
            with ring.borrow(5000) as own:
                os._exit(0 if own is not None and own.segment_id != parents.segment_id else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        with ring.borrow(5000) as again:
            assert again is parents
        ring.close()


@pytest.mark.parametrize(
    "call",
    [
        lambda: sysv.status(2**31 - 1),
        lambda: sysv.attach(2**31 - 1, read_only=True),
        lambda: sysv.remove(2**31 - 1),
        lambda: sysv.set_mode(2**31 - 1, 0o400),
        lambda: sysv.detach(4096),
    ],
    ids=["status", "attach", "remove", "set_mode", "detach"],
)
def test_what_is_not_there_is_an_error_of_the_system(call: Callable[[], object]) -> None:
    with pytest.raises(OSError, match=r"shm\w+: Invalid argument"):
        call()
