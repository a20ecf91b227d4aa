# SPDX-License-Identifier: Apache-2.0
"""The agent as a process: how it starts, refuses to, ends, is killed, and comes back."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge_contract.client import AgentError, CaptureStatus

if TYPE_CHECKING:
    from pathlib import Path

    from tests.agent.conftest import S3, AgentProcess

BUCKET = "captures-sagemaker-test"
X = np.array([[1, 2, 3, 4]], np.float32)


def counted(records: list[dict[str, Any]]) -> collections.Counter[str]:
    return collections.Counter(record["eventMetadata"]["eventId"] for record in records)


class TestStart:
    def test_the_socket_has_the_mode_of_the_configuration(self, agent: AgentProcess) -> None:
        agent.start()
        assert stat.S_IMODE(agent.socket.stat().st_mode) == 0o660
        assert agent.stop() == 0
        agent.start(UnixSocketMode="0666")
        assert stat.S_IMODE(agent.socket.stat().st_mode) == 0o666

    def test_a_second_agent_on_the_socket_is_refused_by_name(self, agent: AgentProcess) -> None:
        agent.start()
        first = agent.process
        agent.start(wait=False)
        assert agent.process.wait(20) == 1
        (refusal,) = agent.events("agent_refused")
        assert str(agent.socket) in refusal["error"]
        assert str(first.pid) in refusal["error"]
        with agent.client() as client:
            assert client.list_models() == []  # the first one still answers
        first.terminate()
        assert first.wait(15) == 0

    def test_a_second_agent_on_the_spool_is_refused_by_name(self, agent: AgentProcess) -> None:
        agent.start()
        first = agent.process
        agent.start("--socket", str(agent.work / "other.sock"), wait=False)
        assert agent.process.wait(20) == 1
        assert "LocalDataRootPath" in agent.events("agent_refused")[0]["error"]
        first.terminate()
        assert first.wait(15) == 0

    def test_a_lock_that_cannot_be_opened_is_told_with_the_way_out(self, agent: AgentProcess) -> None:
        lock = agent.socket.with_name(agent.socket.name + ".lock")
        lock.symlink_to("/nowhere")  # what another user's is to whoever is not root
        agent.start(wait=False)
        assert agent.process.wait(20) == 1
        error = agent.events("agent_refused")[0]["error"]
        assert str(lock) in error
        assert "remove it if no agent runs there, or name another place" in error

    def test_what_else_stands_at_the_path_is_left_alone(self, agent: AgentProcess) -> None:
        agent.socket.write_text("precious")
        agent.start(wait=False)
        assert agent.process.wait(20) == 1
        assert agent.socket.read_text() == "precious"
        agent.socket.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(agent.socket))
            other.listen()
            agent.start(wait=False)
            assert agent.process.wait(20) == 1
        assert [
            next(words for words in ("another kind of file", "a process listens there") if words in event["error"])
            for event in agent.events("agent_refused")
        ] == ["another kind of file", "a process listens there"]

    def test_a_dead_agents_socket_is_taken_over(self, agent: AgentProcess) -> None:
        agent.start()
        agent.stop(signal.SIGKILL)
        assert agent.socket.exists()
        agent.start()
        assert agent.stop() == 0
        assert not agent.socket.exists()

    def test_a_path_that_the_kernel_refuses_is_refused_first(self, agent: AgentProcess) -> None:
        agent.start(wait=False, UnixSocketName="/tmp/" + "x" * 110)  # noqa: S108 # never made
        assert agent.process.wait(20) == 1
        assert "UnixSocketName: expected at most 107 bytes" in agent.events("agent_refused")[0]["error"]

    def test_a_wrong_parameter_is_named_in_one_line(self, agent: AgentProcess) -> None:
        agent.start(wait=False, CaptureDataBatchSize="ten")
        assert agent.process.wait(20) == 1
        (line,) = agent.log().splitlines()
        assert "CaptureDataBatchSize: expected a whole number, got 'ten'" in json.loads(line)["error"]

    def test_without_a_nucleus_or_a_file_it_says_what_it_needs(self) -> None:
        paths = os.pathsep.join(path for path in sys.path if path)
        command = [sys.executable, "-m", "edge_agent"]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": paths}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 1
        assert "--config" in json.loads(done.stdout)["error"]
        helped = subprocess.run(
            [*command, "--help"], env=environment, capture_output=True, text=True, timeout=30, check=False
        )
        assert helped.returncode == 0
        assert "UnixSocketName" in helped.stdout

    def test_unknown_parameters_are_pointed_out(self, agent: AgentProcess) -> None:
        agent.start(CaptureDataBatchsize="3", DeploymentPollInterval="60")
        assert agent.events("parameters_unknown")[0]["names"] == ["CaptureDataBatchsize"]
        assert agent.events("parameters_without_effect")[0]["names"] == ["DeploymentPollInterval"]


class TestEnd:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    def test_a_stop_flushes_what_waits_for_its_batch(self, agent: AgentProcess, package: Path, number: int) -> None:
        agent.start(CaptureDataPushPeriodSeconds="3600")
        with agent.client() as client:
            client.load_model(str(package), "digits")
            client.capture_data("digits", "a", {"x": X}, {})
        assert agent.disk_records() == []
        assert agent.stop(number) == 0
        assert counted(agent.disk_records()) == {"a": 1}
        assert agent.events("agent_stopped")

    def test_a_stop_is_quick_offline_and_the_next_start_delivers(
        self, agent: AgentProcess, package: Path, s3: S3, eventually: Callable[..., None]
    ) -> None:
        s3.delay = 30.0  # the network swallows everything
        cloud: dict[str, Any] = {
            "CaptureDataDestination": "Cloud",
            "BucketName": BUCKET,
            "CaptureDataPushPeriodSeconds": "0.1",
        }
        agent.start(**cloud)
        with agent.client() as client:
            client.load_model(str(package), "digits")
            client.capture_data("digits", "a", {"x": X}, {})
            client.predict("digits", {"x": X})
        started = time.monotonic()
        assert agent.stop() == 0
        assert time.monotonic() - started < 10
        s3.delay = 0.0
        agent.start(**cloud)
        eventually(lambda: counted(s3.records()) == {"a": 1})
        with agent.client() as client:
            eventually(lambda: client.capture_status("a") is CaptureStatus.SUCCESS)


class TestPeriodicUpload:
    def test_what_is_on_disk_goes_to_the_bucket_and_away(
        self, agent: AgentProcess, package: Path, s3: S3, eventually: Callable[..., None]
    ) -> None:
        agent.start(
            BucketName=BUCKET,
            CaptureDataPeriodicUpload="true",
            CaptureDataPeriodicUploadPeriodSeconds="0.2",
            CaptureDataPushPeriodSeconds="0.1",
            CaptureDataBase64EmbedLimit="8",
        )
        foreign = agent.work / "capture/sme-capture/dev-fleet/0/not-ours.jsonl"
        foreign.parent.mkdir(parents=True)
        foreign.write_text("not JSON")
        with agent.client() as client:
            client.load_model(str(package), "digits")
            client.capture_data("digits", "a", {"x": X}, {})
            eventually(lambda: counted(s3.records()) == {"a": 1})
        # The file that is not ours stays, and does not hold up the rest.
        eventually(lambda: [path for path in (agent.work / "capture").rglob("*") if path.is_file()] == [foreign])
        assert s3.records()[0]["deviceFleetInputs"][0]["data-ref"].startswith(f"s3://{BUCKET}/sme-capture/dev-fleet/")


class TestKill:
    """SIGKILL at any moment: every acknowledged capture arrives, and none arrives twice."""

    @pytest.mark.parametrize("destination", ["Disk", "Cloud"])
    def test_acknowledged_captures_arrive_exactly_once(
        self, agent: AgentProcess, package: Path, s3: S3, eventually: Callable[..., None], destination: str
    ) -> None:
        parameters: dict[str, Any] = {
            "CaptureDataDestination": destination,
            "BucketName": BUCKET,
            "CaptureDataBatchSize": "3",
            "CaptureDataBase64EmbedLimit": "20",  # inputs and outputs of one row: one beside the record, one inside
            "CaptureDataPushPeriodSeconds": "0.05",
        }
        acknowledged: list[str] = []

        def capture(stop: threading.Event) -> None:
            with agent.client() as client:
                while not stop.is_set():
                    capture_id = str(uuid.uuid4())
                    with contextlib.suppress(AgentError):
                        client.capture_data("digits", capture_id, {"x": np.repeat(X, 2, axis=0)}, {"y": X})
                        acknowledged.append(capture_id)

        for round_ in range(4):
            agent.start(**parameters)
            with agent.client() as client:
                client.load_model(str(package), "digits")
            stop = threading.Event()
            threads = [threading.Thread(target=capture, args=(stop,)) for _ in range(2)]
            for thread in threads:
                thread.start()
            before = len(acknowledged)
            eventually(lambda before=before: len(acknowledged) >= before + 20)
            time.sleep(0.013 * round_)
            agent.stop(signal.SIGKILL)
            stop.set()
            for thread in threads:
                thread.join()
        agent.start(**parameters)
        with agent.client() as client:
            eventually(lambda: client.capture_status(acknowledged[-1]) is CaptureStatus.SUCCESS)
        assert agent.stop() == 0
        arrived = counted(agent.disk_records() if destination == "Disk" else s3.records())
        assert set(arrived.values()) == {1}
        assert set(acknowledged) <= set(arrived)
        assert list((agent.work / "spool/pending").iterdir()) == []
        assert list((agent.work / "spool/batches").iterdir()) == []
        assert not list(agent.work.rglob("*.part"))

    def test_what_records_refer_to_is_there(self, agent: AgentProcess, package: Path, s3: S3) -> None:
        agent.start(CaptureDataDestination="Cloud", BucketName=BUCKET, CaptureDataPushPeriodSeconds="0.05")
        large = np.arange(4000, dtype=np.float32).reshape(1000, 4)
        with agent.client() as client:
            client.load_model(str(package), "digits")
            client.capture_data("digits", "large", {"x": large}, {})
        assert agent.stop() == 0
        (record,) = s3.records()
        reference = record["deviceFleetInputs"][0]["data-ref"]
        assert s3.objects[reference[len(f"s3://{BUCKET}/") :]] == large.tobytes()
        assert s3.puts[-1].endswith(".jsonl")  # the manifest comes last

    def test_a_client_finds_the_agent_that_came_back(self, agent: AgentProcess, package: Path) -> None:
        agent.start()
        with agent.client() as client:
            client.load_model(str(package), "digits")
            agent.stop(signal.SIGKILL)
            with pytest.raises(AgentError, match="UNAVAILABLE"):
                client.predict("digits", {"x": X})
            agent.start(wait=False)
            client.wait_until_ready(20)
            assert client.list_models() == []
            client.ensure_loaded(str(package), "digits")
            assert client.predict("digits", {"x": X})["y"].shape == (1, 3)


class TestLoad:
    def test_many_clients_at_once_get_their_own_answers(self, agent: AgentProcess, package: Path) -> None:
        agent.start(MaxConcurrentPredictions="2")
        wrong: list[float] = []

        def predict(factor: float) -> None:
            with agent.client() as client:
                for _ in range(50):
                    got = client.predict("digits", {"x": X * factor})["y"][0, 0]
                    if got != factor * 60.0:
                        wrong.append(got)

        with agent.client() as client:
            client.load_model(str(package), "digits")
        threads = [threading.Thread(target=predict, args=(float(factor),)) for factor in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
