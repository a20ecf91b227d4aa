# SPDX-License-Identifier: Apache-2.0
"""Faults that devices have, each in a short form and, behind ``-m soak``, in a long one."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.server
import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge_agent import settings
from edge_agent.captures.destinations import Bucket, make_s3_client
from edge_agent.captures.history import Status
from edge_agent.captures.pipeline import Pipeline
from edge_agent.captures.spool import Spool
from edge_contract.client import CaptureStatus
from edge_contract.errors import AgentError
from tests.agent.captures.doubles import make_capture, make_spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge_contract.client import AgentClient
    from tests.agent.conftest import S3, AgentProcess

BUCKET = "captures-sagemaker-test"
X = np.array([[1, 2, 3, 4]], np.float32)


def make_settings(work: Path, **values: str) -> settings.Settings:
    fixed = {"DeviceFleetName": "fleet", "BucketName": BUCKET, "CaptureDataPushPeriodSeconds": "0.01", **values}
    return settings.parse(fixed, device_name="device", work=work)


def make_long_spool(work: Path) -> Spool:
    return make_spool(work / "spool", max_pending=1000, max_bytes=1 << 24, max_history=10_000)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, s3: S3) -> S3:
    """The S3 endpoint, as this process's environment names it."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return s3


class SimulatedClock:
    """Lets a worker's pauses pass at once, and knows how long they were."""

    def __init__(self) -> None:
        self.now = 0.0
        self._stop = threading.Event()

    def is_set(self) -> bool:
        return self._stop.is_set()

    def set(self) -> None:
        self._stop.set()

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        return self._stop.is_set()


class TestCloud:
    @pytest.mark.parametrize("hours", [1, pytest.param(24 * 3, marks=[pytest.mark.soak, pytest.mark.timeout(600)])])
    def test_back_after_hours_everything_arrives_once_and_nobody_hammered(
        self, tmp_path: Path, cloud: S3, hours: int
    ) -> None:
        spool = make_long_spool(tmp_path)
        pipeline = Pipeline(spool, make_settings(tmp_path, CaptureDataBatchSize="5"))
        clock = SimulatedClock()
        pipeline._batcher.stop()
        pipeline._deliverer._stopping = clock  # type: ignore[assignment] # it waits nowhere else
        for number in range(20):
            spool.add(make_capture(f"id-{number}"))
        while pipeline._batch():
            pass
        attempts = 0
        deliver = pipeline._deliverer._step

        def step() -> bool:
            nonlocal attempts
            attempts += 1
            cloud.failing = clock.now < hours * 3600
            worked = deliver()
            if not worked:
                clock.set()
            return worked

        pipeline._deliverer._step = step
        cloud.failing = True
        pipeline._deliverer.start()
        assert pipeline._deliverer.join(500)
        assert all(spool.status(f"id-{number}") is Status.SUCCESS for number in range(20))
        assert sorted(one["eventMetadata"]["eventId"] for one in cloud.records()) == sorted(
            f"id-{number}" for number in range(20)
        )
        assert hours * 3600 <= clock.now <= hours * 3600 + 60  # it noticed within a minute
        assert attempts <= hours * 3600 / 30 + 12  # and asked at most twice a minute

    def test_a_slow_bucket_slows_nothing_but_itself(
        self, agent: AgentProcess, package: Path, s3: S3, eventually: Callable[..., None]
    ) -> None:
        s3.delay = 1.0
        agent.start(CaptureDataDestination="Cloud", BucketName=BUCKET, CaptureDataPushPeriodSeconds="0.05")
        with agent.client() as client:
            client.load_model(str(package), "digits")
            client.capture_data("digits", "first", {"x": X}, {})
            eventually(lambda: client.capture_status("first") is CaptureStatus.IN_PROGRESS)
            for number in range(20):
                client.predict("digits", {"x": X})
                client.capture_data("digits", f"{number}", {"x": X}, {})
            assert client.capture_status("first") is CaptureStatus.IN_PROGRESS  # all that was quicker than one upload
            s3.delay = 0.0
            eventually(lambda: client.capture_status("19") is CaptureStatus.SUCCESS)

    @pytest.mark.usefixtures("cloud")
    def test_expired_credentials_are_asked_for_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., None]
    ) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        with token_exchange() as (url, exchange):
            monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
            monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "token")
            exchange.lifetime = -60.0  # the device's clock is ahead: whatever it gets is expired already
            spool = make_long_spool(tmp_path)
            parameters = make_settings(tmp_path)
            bucket = Bucket(BUCKET, make_client=lambda: make_s3_client(parameters))
            pipeline = Pipeline(spool, parameters, destination=bucket)
            pipeline.start()
            spool.add(make_capture("a"))
            eventually(lambda: pipeline.failure)
            assert "expired" in pipeline.failure
            exchange.lifetime = 2.0  # shorter than botocore's own margin: it has to ask each time
            eventually(lambda: spool.status("a") is Status.SUCCESS)
            asked = exchange.asked
            spool.add(make_capture("b"))
            eventually(lambda: spool.status("b") is Status.SUCCESS)
            pipeline.stop(5)
        assert exchange.asked > asked


class TestClock:
    def test_a_clock_that_jumps_back_holds_nothing_up(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cloud: S3, eventually: Callable[..., None]
    ) -> None:
        spool = make_long_spool(tmp_path)
        pipeline = Pipeline(spool, make_settings(tmp_path))
        pipeline.start()
        spool.add(make_capture("before", at=1_700_000_000))
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() - 10 * 365 * 86400)
        spool.add(make_capture("after", at=int(time.time())))
        eventually(lambda: spool.status("after") is Status.SUCCESS and spool.status("before") is Status.SUCCESS)
        pipeline.stop(5)
        monkeypatch.undo()
        again = make_long_spool(tmp_path)
        assert again.status("before") is again.status("after") is Status.SUCCESS
        assert len(cloud.records()) == 2


class TestKill:
    """Every acknowledged capture arrives once and whole, however often the agent is killed under load."""

    @pytest.mark.parametrize("rounds", [3, pytest.param(50, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])])
    def test_rounds_of_sigkill_under_load(
        self, agent: AgentProcess, package: Path, eventually: Callable[..., None], rounds: int
    ) -> None:
        parameters: dict[str, Any] = {
            "CaptureDataBatchSize": "4",
            "CaptureDataBase64EmbedLimit": "100",
            "CaptureDataPushPeriodSeconds": "0.05",
            "CaptureSpoolMaxBytes": "16777216",
        }
        acknowledged: dict[str, float] = {}
        pause = random.Random(rounds)  # noqa: S311 # the same moments in every run
        for _ in range(rounds):
            agent.start(**parameters)
            with agent.client() as client:
                client.load_model(str(package), "digits")
            stop = threading.Event()
            threads = [threading.Thread(target=_load, args=(agent.client, stop, acknowledged)) for _ in range(2)]
            for thread in threads:
                thread.start()
            before = len(acknowledged)
            eventually(lambda before=before: len(acknowledged) > before)
            time.sleep(pause.uniform(0, 0.3))
            agent.stop(signal.SIGKILL)
            stop.set()
            for thread in threads:
                thread.join()
        agent.start(**parameters)
        assert agent.stop() == 0
        eventually(lambda: not list((agent.work / "spool/pending").iterdir()))
        arrived = {record["eventMetadata"]["eventId"]: record for record in agent.disk_records()}
        assert len(arrived) == len(agent.disk_records()), "a capture arrived twice"
        assert not set(acknowledged) - set(arrived), "an acknowledged capture is lost"
        for capture_id, value in acknowledged.items():
            reference = arrived[capture_id]["deviceFleetInputs"][0]["data-ref"]
            data = np.frombuffer(Path(reference[len("file://") :]).read_bytes(), np.float32)
            assert data.shape == (4 * _rows(value),), "a capture is torn"
            assert set(data) == {np.float32(value)}
        assert not list(agent.work.rglob("*.part"))


def _rows(value: float) -> int:
    """Every other capture has a file of its own in the spool."""
    return 100 if value % 2 else 10_000


def _load(connect: Callable[[], AgentClient], stop: threading.Event, acknowledged: dict[str, float]) -> None:
    with connect() as client:
        while not stop.is_set():
            capture_id, value = str(uuid.uuid4()), float(len(acknowledged))
            with contextlib.suppress(AgentError):
                client.predict("digits", {"x": X})
                client.capture_data("digits", capture_id, {"x": np.full((_rows(value), 4), value, np.float32)}, {})
                acknowledged[capture_id] = value


class TestSocket:
    def test_a_deleted_socket_comes_back_and_models_stay(
        self, agent: AgentProcess, package: Path, eventually: Callable[..., None]
    ) -> None:
        agent.start()
        with agent.client() as connected:
            connected.load_model(str(package), "digits")
            agent.socket.unlink()
            assert connected.predict("digits", {"x": X})["y"].shape == (1, 3)  # who is connected notices nothing
            eventually(agent.socket.exists)
            with agent.client() as newcomer:
                newcomer.wait_until_ready(10)
                assert [model.name for model in newcomer.list_models()] == ["digits"]
        assert agent.events("socket_restored")
        assert agent.stop() == 0
        assert not agent.socket.exists()

    def test_a_directory_that_is_gone_for_a_while_ends_nothing(
        self, agent: AgentProcess, package: Path, eventually: Callable[..., None]
    ) -> None:
        directory = agent.work / "run"
        directory.mkdir()
        agent.socket = directory / "agent.sock"
        agent.start()
        with agent.client() as connected:
            connected.load_model(str(package), "digits")
            shutil.rmtree(directory)
            directory.write_text("not a directory")
            eventually(lambda: agent.events("socket_lost"))
            time.sleep(3)  # it looks again
            assert connected.predict("digits", {"x": X})["y"].shape == (1, 3)
            assert len(agent.events("socket_lost")) == 1
            directory.unlink()
            directory.mkdir()
            eventually(agent.socket.exists)
        assert agent.stop() == 0

    def test_a_path_that_somebody_took_is_left_to_them(
        self, agent: AgentProcess, eventually: Callable[..., None]
    ) -> None:
        agent.start()
        agent.socket.unlink()
        agent.socket.write_text("mine now")
        eventually(lambda: agent.events("socket_lost"))
        assert agent.socket.read_text() == "mine now"

    @pytest.mark.parametrize("rounds", [10, pytest.param(500, marks=[pytest.mark.soak, pytest.mark.timeout(900)])])
    def test_clients_that_vanish_in_mid_call_leave_nothing_behind(
        self, agent: AgentProcess, package: Path, eventually: Callable[..., None], rounds: int
    ) -> None:
        agent.start()
        with agent.client() as client:
            client.load_model(str(package), "digits")
            before = descriptors(agent)
            for number in range(rounds):
                with socket.socket(socket.AF_UNIX) as raw:
                    raw.connect(str(agent.socket))
                    raw.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[: 5 + number % 20])
            process = subprocess.Popen(
                [sys.executable, "-c", _VANISHING, str(agent.socket)],
                env={**agent._environment},
                stdout=subprocess.PIPE,
            )
            assert process.stdout is not None
            assert process.stdout.readline()
            process.kill()
            process.wait(10)
            process.stdout.close()
            assert client.predict("digits", {"x": X})["y"].shape == (1, 3)
            eventually(lambda: descriptors(agent) <= before + 2)


_VANISHING = """
import sys, threading
import numpy as np
from edge_contract.client import AgentClient
client = AgentClient(sys.argv[1])
def predict():
    while True:
        client.predict("digits", {"x": np.zeros((100000, 4), np.float32)})
for _ in range(4):
    threading.Thread(target=predict, daemon=True).start()
client.predict("digits", {"x": np.zeros((1, 4), np.float32)})
print("running", flush=True)
threading.Event().wait()
"""


def descriptors(agent: AgentProcess) -> int:
    return len(list(Path(f"/proc/{agent.process.pid}/fd").iterdir()))


def resident(agent: AgentProcess) -> int:
    """Bytes of memory that the agent has resident."""
    lines = Path(f"/proc/{agent.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


class TestRounds:
    @pytest.mark.parametrize(
        ("warm_up", "rounds"),
        [(60, 120), pytest.param(500, 10_000, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])],
    )
    def test_loading_and_unloading_grows_nothing(
        self, agent: AgentProcess, package: Path, warm_up: int, rounds: int
    ) -> None:
        agent.start()
        with agent.client() as client:

            def load_and_unload(times: int) -> None:
                for _ in range(times):
                    client.load_model(str(package), "digits")
                    client.predict("digits", {"x": X})
                    client.unload_model("digits")

            load_and_unload(warm_up)
            memory, files = resident(agent), descriptors(agent)
            load_and_unload(rounds)
            assert descriptors(agent) <= files
            assert resident(agent) - memory < 8 << 20


class Exchange:
    """A token exchange service that says how often it was asked."""

    def __init__(self) -> None:
        self.lifetime = 3600.0
        self.asked = 0


@contextlib.contextmanager
def token_exchange() -> Iterator[tuple[str, Exchange]]:
    state = Exchange()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked += 1
            expiration = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=state.lifetime)
            body = json.dumps(
                {
                    "AccessKeyId": "test",
                    "SecretAccessKey": "test",
                    "Token": "test",
                    "Expiration": expiration.strftime("%Y-%m-%dT%H:%M:%SZ"),
                }
            ).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/credentials", state
        server.shutdown()
        thread.join()
