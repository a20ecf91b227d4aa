# SPDX-License-Identifier: Apache-2.0
"""Tensors in shared memory: from the segment through the real socket to the model and into captures."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from edge_agent.errors import InvalidArgumentError, UnsupportedError
from edge_agent.shared_memory import Segments
from edge_contract import agent_pb2, sysv
from edge_contract.client import AgentError, AgentNotFoundError, CaptureStatus
from edge_contract.shared_tensors import SharedTensor
from edge_contract.wire import SharedMemory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_contract.client import AgentClient
    from tests.agent.conftest import AgentProcess

X = np.array([[1, 2, 3, 4]], np.float32)
Y = X @ np.arange(12, dtype=np.float32).reshape(4, 3)
LARGE = np.arange(400_000, dtype=np.float32).reshape(100_000, 4)  # 1.6 MB: beyond the client's threshold


class Segment:
    """A segment as any client makes it: with a mode of its own, and there until it is removed."""

    def __init__(self, content: bytes, mode: int = 0o400) -> None:
        self.id = sysv.create(len(content), 0o600)
        self.address: int | None = sysv.attach(self.id, read_only=False)
        self.write(content)
        sysv.set_mode(self.id, mode)

    def write(self, content: bytes) -> None:
        assert self.address is not None
        sysv.view(self.address, len(content))[:] = content

    def leave(self) -> None:
        """End the attachment of this side."""
        if self.address is not None:
            sysv.detach(self.address)
        self.address = None

    @property
    def attachments(self) -> int:
        return sysv.status(self.id).attachments

    def handle(self, **fields: int) -> agent_pb2.SharedMemoryHandle:
        return agent_pb2.SharedMemoryHandle(segment_id=self.id, **fields)


@pytest.fixture
def make_segment() -> Iterator[Callable[..., Segment]]:
    made: list[Segment] = []

    def make(content: bytes, mode: int = 0o400) -> Segment:
        made.append(Segment(content, mode))
        return made[-1]

    yield make
    for segment in made:
        segment.leave()
        with contextlib.suppress(OSError):  # the test removed it
            sysv.remove(segment.id)


@pytest.fixture
def client(client: AgentClient, package: Path) -> AgentClient:
    client.load_model(str(package), "digits")
    return client


def predict(client: AgentClient, handle: agent_pb2.SharedMemoryHandle, **metadata: Any) -> np.ndarray[Any, Any]:
    tensor = agent_pb2.Tensor(shared_memory_handle=handle)
    if metadata:
        tensor.tensor_metadata.CopyFrom(agent_pb2.TensorMetadata(**metadata))
    answer = client._call("Predict", agent_pb2.PredictRequest(name="digits", tensors=[tensor]))
    return np.frombuffer(answer.tensors[0].byte_data, np.float32).reshape(-1, 3)


FLOAT32 = agent_pb2.FLOAT32


class TestPredict:
    @pytest.mark.parametrize(
        ("offset", "size", "metadata"),
        [
            (0, 0, {"name": b"x", "data_type": FLOAT32, "shape": [1, 4]}),
            (0, 16, {"name": b"x", "data_type": FLOAT32, "shape": [1, 4]}),
            (0, 0, {"shape": [1, 4]}),  # the type is not told
            (16, 0, {"data_type": FLOAT32, "shape": [1, 4]}),
            (16, 16, {}),
            (48, 0, {}),  # the segment's last row
        ],
    )
    def test_a_place_is_read_whatever_is_left_out(
        self,
        client: AgentClient,
        make_segment: Callable[..., Segment],
        offset: int,
        size: int,
        metadata: dict[str, Any],
    ) -> None:
        rows = np.arange(16, dtype=np.float32).reshape(4, 4)
        segment = make_segment(rows.tobytes())
        got = predict(client, segment.handle(offset=offset, size=size), **metadata)
        row = rows[offset // 16 : offset // 16 + 1]
        np.testing.assert_array_equal(got, row @ np.arange(12, dtype=np.float32).reshape(4, 3))

    def test_without_shape_and_size_all_of_it_is_the_tensor(
        self, client: AgentClient, make_segment: Callable[..., Segment]
    ) -> None:
        assert predict(client, make_segment(bytes(16 * 5)).handle()).shape == (5, 3)

    @pytest.mark.parametrize("mode", [0o600, 0o440 | 0o020, 0o402, 0o444 | 0o001, 0o500, 0o666])
    def test_a_segment_that_anyone_may_write_is_refused(
        self, client: AgentClient, make_segment: Callable[..., Segment], mode: int
    ) -> None:
        with pytest.raises(AgentError, match=rf"INVALID_ARGUMENT.*read-only.*got 0o?{mode:o}") as caught:
            predict(client, make_segment(X.tobytes(), mode).handle())
        assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT

    @pytest.mark.parametrize("mode", [0o400, 0o404, 0o444])
    def test_the_modes_of_known_clients_pass(
        self, client: AgentClient, make_segment: Callable[..., Segment], mode: int
    ) -> None:
        np.testing.assert_array_equal(predict(client, make_segment(X.tobytes(), mode).handle()), Y)

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"offset": 17}, "within the 16 bytes"),
            ({"size": 17}, "within the 16 bytes"),
            ({"offset": 8, "size": 9}, "within the 16 bytes"),
            ({"offset": 2**64 - 1}, "within the 16 bytes"),
            ({"offset": 2**64 - 8, "size": 16}, "within the 16 bytes"),  # their sum is 8 in 64 bits
            ({"size": 2**63}, "within the 16 bytes"),
            ({"offset": 16}, "'x'"),
            ({"size": 12}, "'x'"),
        ],
    )
    def test_a_place_beyond_the_segment_is_refused(
        self, client: AgentClient, make_segment: Callable[..., Segment], fields: dict[str, int], words: str
    ) -> None:
        segment = make_segment(X.tobytes())
        with pytest.raises(AgentError, match=f"INVALID_ARGUMENT.*{words}"):
            predict(client, segment.handle(**fields), shape=[1, 4], data_type=FLOAT32)
        np.testing.assert_array_equal(predict(client, segment.handle()), Y)

    @pytest.mark.parametrize("segment_id", [2**31 - 1, 2**31, 2**32, 2**63, 2**64 - 1])
    def test_an_id_that_does_not_exist_is_refused(self, client: AgentClient, segment_id: int) -> None:
        with pytest.raises(AgentError, match=f"INVALID_ARGUMENT.*{segment_id}"):
            predict(client, agent_pb2.SharedMemoryHandle(segment_id=segment_id))

    def test_an_id_above_32_bits_is_no_alias(self, client: AgentClient, make_segment: Callable[..., Segment]) -> None:
        segment = make_segment(X.tobytes())
        with pytest.raises(AgentError, match=r"INVALID_ARGUMENT.*expected a segment_id as shmget returns it"):
            predict(client, agent_pb2.SharedMemoryHandle(segment_id=2**32 + segment.id))

    def test_each_call_sees_what_is_there_now(self, client: AgentClient, make_segment: Callable[..., Segment]) -> None:
        segment = make_segment(X.tobytes())
        for factor in (1.0, 2.0, 3.0):  # the classic client: writable, write, read-only, call
            sysv.set_mode(segment.id, 0o600)
            segment.write((X * factor).astype(np.float32).tobytes())
            sysv.set_mode(segment.id, 0o400)
            np.testing.assert_array_equal(predict(client, segment.handle()), Y * factor)
        assert segment.attachments == 2  # one of ours, one of the agent's

    def test_a_removed_segment_is_let_go(
        self, client: AgentClient, make_segment: Callable[..., Segment], eventually: Callable[..., None]
    ) -> None:
        segment = make_segment(X.tobytes())
        predict(client, segment.handle())
        sysv.remove(segment.id)
        np.testing.assert_array_equal(predict(client, segment.handle()), Y)  # still attached here, so still in use
        segment.leave()
        eventually(lambda: not _exists(segment.id), seconds=10)
        with pytest.raises(AgentError, match="INVALID_ARGUMENT"):
            predict(client, segment.handle())


class TestClient:
    def test_large_inputs_go_through_shared_memory_and_leave_nothing(
        self, shared_agent: AgentProcess, client: AgentClient, eventually: Callable[..., None]
    ) -> None:
        with shared_agent.client() as own:
            for factor in (1, 2, 3):
                got = own.predict("digits", {"x": LARGE * factor})["y"]
                np.testing.assert_allclose(got[:5], (LARGE[:5] * factor) @ np.arange(12).reshape(4, 3))
            assert own._ring is not None
            (segment,) = own._ring._free
            assert sysv.status(segment.segment_id).attachments == 2  # it was attached once, and is kept
        eventually(lambda: not _exists(segment.segment_id), seconds=10)
        assert client.predict("digits", {"x": X})["y"].shape == (1, 3)

    def test_strides_and_byte_order_are_made_right_on_the_way(self, client: AgentClient) -> None:
        want = client.predict("digits", {"x": LARGE[::2]})["y"]
        for array in (LARGE[::2].astype(">f4"), np.asfortranarray(LARGE[::2])):
            np.testing.assert_array_equal(client.predict("digits", {"x": array})["y"], want)

    def test_an_agent_that_cannot_read_it_gets_bytes(
        self, client: AgentClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("edge_contract.shared_tensors._READ_ONLY", 0o600)  # stands for any reason to refuse
        rings = [client._ring]
        assert client.predict("digits", {"x": LARGE})["y"].shape == (100_000, 3)
        rings.append(client._ring)
        assert [ring is None for ring in rings] == [False, True]
        assert client.predict("digits", {"x": LARGE})["y"].shape == (100_000, 3)

    def test_a_wrong_request_is_refused_and_no_reason_to_give_up_shared_memory(self, client: AgentClient) -> None:
        with pytest.raises(AgentError, match=r"INVALID_ARGUMENT.*FLOAT64"):
            client.predict("digits", {"x": LARGE.astype(np.float64)})
        assert client._ring is not None

    def test_what_is_refused_for_another_reason_is_not_sent_again_with_its_bytes(
        self, client: AgentClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        predict, sent = client._predict, list[int]()

        def counted(message: bytes, **options: Any) -> bytes:
            sent.append(len(message))
            return predict(message, **options)

        monkeypatch.setattr(client, "_predict", counted)
        with pytest.raises(AgentNotFoundError):
            client.predict("unknown", {"x": LARGE})
        (size,) = sent
        assert size < 1000
        assert client._ring is not None

    def test_threads_get_their_own_answers(self, client: AgentClient) -> None:
        wrong: list[int] = []

        def work(factor: int) -> None:
            array = np.full((20_000, 4), factor, np.float32)
            for _ in range(20):
                got = client.predict("digits", {"x": array})["y"]
                if not (got == np.array([18, 22, 26], np.float32) * factor).all():
                    wrong.append(factor)

        threads = [threading.Thread(target=work, args=(factor,)) for factor in range(1, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong

    @pytest.mark.usefixtures("client")
    def test_a_killed_clients_memory_comes_back(
        self, shared_agent: AgentProcess, eventually: Callable[..., None]
    ) -> None:
        program = (
            "import sys, numpy as np; from edge_contract.client import AgentClient\n"
            "client = AgentClient(sys.argv[1]); array = np.ones((100_000, 4), np.float32)\n"
            "client.predict('digits', {'x': array}); print(client._ring._free[0].segment_id, flush=True)\n"
            "while True: client.predict('digits', {'x': array})\n"
        )
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        command = [sys.executable, "-c", program, str(shared_agent.socket)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
            assert process.stdout is not None
            segment_id = int(process.stdout.readline())
            assert sysv.status(segment_id).attachments == 2
            process.send_signal(signal.SIGKILL)
        eventually(lambda: not _exists(segment_id), seconds=10)


class TestCapture:
    def test_what_was_captured_is_what_was_there_at_the_call(
        self, agent: AgentProcess, package: Path, make_segment: Callable[..., Segment]
    ) -> None:
        agent.start(CaptureDataPushPeriodSeconds="60")
        segment = make_segment(X.tobytes() + b"frame")
        sized = segment.handle(size=16)
        message = agent_pb2.CaptureDataRequest(
            model_name="digits",
            capture_id="shared",
            input_tensors=[agent_pb2.Tensor(shared_memory_handle=sized)],
            inputs=[
                agent_pb2.AuxiliaryData(
                    name="jpg", encoding=agent_pb2.NONE, shared_memory_handle=segment.handle(offset=16)
                )
            ],
        )
        with agent.client() as client:
            client.load_model(str(package), "digits")
            client._call("CaptureData", message)
            sysv.set_mode(segment.id, 0o600)
            segment.write(bytes(16) + b"later")
            assert client.capture_status("shared") is CaptureStatus.IN_PROGRESS
        assert agent.stop() == 0
        (record,) = agent.disk_records()
        assert record["deviceFleetInputs"][0]["data"] == "AACAPwAAAEAAAEBAAACAQA=="
        assert record["deviceFleetAuxiliaryInputs"][0]["data"] == "ZnJhbWU="

    def test_a_dead_segment_is_refused(self, client: AgentClient) -> None:
        tensor = agent_pb2.Tensor(shared_memory_handle=agent_pb2.SharedMemoryHandle(segment_id=2**31 - 1))
        message = agent_pb2.CaptureDataRequest(model_name="digits", capture_id="dead", input_tensors=[tensor])
        with pytest.raises(AgentError, match=r"INVALID_ARGUMENT.*segment 2147483647"):
            client._call("CaptureData", message)
        with pytest.raises(AgentError, match="NOT_FOUND"):
            client.capture_status("dead")


class TestSegments:
    """The cache of attachments by itself."""

    def test_an_attachment_is_kept_and_bounded(self, make_segment: Callable[..., Segment]) -> None:
        segments = Segments(most_attachments=2)
        made = [make_segment(b"abcd") for _ in range(3)]
        for segment in [*made, made[2]]:
            with segments.reading() as memory:
                assert bytes(memory.view(SharedMemory(segment.id), what="it")) == b"abcd"
        assert segments.attached() == [made[1].id, made[2].id]
        assert [segment.attachments for segment in made] == [1, 2, 2]

    def test_what_is_being_read_is_never_unmapped(self, make_segment: Callable[..., Segment]) -> None:
        segments = Segments(most_attachments=1)
        segment, other = make_segment(b"abcd"), make_segment(b"efgh")
        with segments.reading() as memory:
            view = memory.view(SharedMemory(segment.id), what="it")
            memory.view(SharedMemory(other.id), what="the other")  # beyond the bound, but both are in use
            sysv.remove(segment.id)
            segment.leave()
            segments.sweep()
            assert bytes(view) == b"abcd"
        assert not _exists(segment.id)

    def test_an_id_that_the_kernel_gave_to_another_segment_is_attached_anew(
        self, make_segment: Callable[..., Segment], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        segments, former, latter = Segments(), make_segment(b"abcd"), make_segment(b"efghi")
        with segments.reading() as memory:
            assert bytes(memory.view(SharedMemory(former.id), what="it")) == b"abcd"
        status, attach = sysv.status, sysv.attach
        monkeypatch.setattr(sysv, "status", lambda _id: status(latter.id))
        monkeypatch.setattr(sysv, "attach", lambda _id, **how: attach(latter.id, **how))
        with segments.reading() as memory:
            assert bytes(memory.view(SharedMemory(former.id), what="it")) == b"efghi"
        assert status(former.id).attachments == 1  # its maker's own

    def test_a_view_cannot_be_written(self, make_segment: Callable[..., Segment]) -> None:
        with Segments().reading() as memory:
            view = memory.view(SharedMemory(make_segment(b"abcd").id), what="it")
            assert view.readonly
            assert not np.frombuffer(view, np.uint8).flags.writeable

    def test_a_machine_without_it_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sysv, "available", lambda: False)
        with Segments().reading() as memory, pytest.raises(UnsupportedError, match="expected byte_data"):
            memory.view(SharedMemory(0), what="it")

    def test_an_abandoned_segment_is_let_go_and_the_sweeping_ends(
        self, make_segment: Callable[..., Segment], eventually: Callable[..., None]
    ) -> None:
        segments = Segments(sweep_seconds=0.01)
        segment = make_segment(b"abcd")
        for _ in range(2):  # it begins anew
            with segments.reading() as memory:
                memory.view(SharedMemory(segment.id), what="it")
            assert segments._sweeping
            sysv.remove(segment.id)
            segment.leave()
            eventually(lambda: not segments._sweeping)
            assert segments.attached() == []
            assert not _exists(segment.id)
            segment = make_segment(b"efgh")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read every segment")
    def test_an_unreadable_segment_is_refused(self, make_segment: Callable[..., Segment]) -> None:
        with Segments().reading() as memory, pytest.raises(InvalidArgumentError, match="Permission denied"):
            memory.view(SharedMemory(make_segment(b"abcd", 0o000).id), what="it")


def _exists(segment_id: int) -> bool:
    try:
        sysv.status(segment_id)
    except OSError:
        return False
    return True


class TestCapturesOfTheClient:
    """Large tensors of a capture go through shared memory, as a prediction's do."""

    def test_the_agent_has_copied_them_when_it_answers(
        self, agent: AgentProcess, package: Path, eventually: Callable[..., None]
    ) -> None:
        agent.start(CaptureDataPushPeriodSeconds="0.05")
        frames = [np.full((40_000, 4), number, np.float32) for number in range(4)]
        with agent.client() as client:
            client.load_model(str(package), "digits")
            for number, frame in enumerate(frames):  # the same segments again and again
                client.capture_data("digits", f"{number}", {"x": frame}, {"y": frame[:1, :3]})
            eventually(lambda: all(client.capture_status(f"{one}") is CaptureStatus.SUCCESS for one in range(4)))
            assert client._ring is not None
        for record in agent.disk_records():
            number = int(record["eventMetadata"]["eventId"])
            path = Path(record["deviceFleetInputs"][0]["data-ref"].removeprefix("file://"))
            assert path.read_bytes() == frames[number].tobytes()

    def test_an_agent_that_cannot_read_them_gets_them_in_the_message(
        self, agent: AgentProcess, package: Path, eventually: Callable[..., None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        agent.start(CaptureDataPushPeriodSeconds="0.05")
        frame = np.ones((40_000, 4), np.float32)
        with agent.client() as client:
            client.load_model(str(package), "digits")
            monkeypatch.setattr(SharedTensor, "place", lambda _self, size: SharedMemory(2**31 - 1, 0, size))
            client.capture_data("digits", "a", {"x": frame}, {})
            assert client._ring is None
            eventually(lambda: client.capture_status("a") is CaptureStatus.SUCCESS)
