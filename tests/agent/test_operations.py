# SPDX-License-Identifier: Apache-2.0
"""What an operator of the agent uses: its flags, doctor, metrics and counters."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge_agent import prometheus, settings, unix_socket
from edge_contract.client import AgentClient, CaptureStatus
from edge_contract.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.agent.conftest import S3, AgentProcess

X = np.array([[1, 2, 3, 4]], np.float32)
DOCUMENT = Path(__file__).parents[2] / "docs/operations/agent.md"
SOURCES = Path(__file__).parents[2] / "component_src"


def scrape(path: Path, target: str = "/metrics") -> tuple[int, str]:
    """What a scraper gets from the socket."""
    connection = http.client.HTTPConnection("localhost", timeout=5)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(path))
    connection.request("GET", target)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def values(text: str) -> dict[str, float]:
    """The samples of an exposition by name and labels."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_the_document_lists_every_parameter_as_it_is() -> None:
    rows = [line.strip("|").split("|") for line in DOCUMENT.read_text(encoding="utf-8").splitlines()]
    table = {row[0].strip(" `"): [cell.strip() for cell in row[1:]] for row in rows if len(row) == 4}
    for name, default in settings.DEFAULTS.items():
        written, _, running = table.pop(name)
        spelled = {"DeviceFleetName": "required"} | dict.fromkeys(
            ("CaptureDataDiskPath", "LocalDataRootPath"), "<work>"
        )
        assert written.strip("`").startswith(spelled.get(name, default)), name
        attribute = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.replace("Base64E", "Base64_E")).lower()
        assert (running == "restart") == (attribute in settings.NEEDS_RESTART), name
    assert set(table) <= {"Parameter", "---"}


class TestMetricsSocket:
    def test_it_gives_what_was_counted(self, agent: AgentProcess, package: Path) -> None:
        metrics = agent.work / "metrics.sock"
        agent.start(MetricsSocketName="metrics.sock", CaptureDataPushPeriodSeconds="0.1", UnixSocketMode="0600")
        assert stat.S_IMODE(metrics.stat().st_mode) == 0o600
        with agent.client() as client:
            client.load_model(str(package), "digits")
            for _ in range(3):
                client.predict("digits", {"x": X})
            with pytest.raises(AgentError):
                client.predict("digits", {"x": X.astype(np.float64)})
            client.capture_data("digits", "a", {"x": X}, {})
        status, text = scrape(metrics)
        got = values(text)
        assert status == 200
        assert got["edge_agent_predictions_total"] == 3
        assert got['edge_agent_model_predictions_total{handle="digits",model="digits"}'] == 3
        assert got['edge_agent_model_inference_seconds_total{handle="digits",model="digits"}'] > 0
        assert got["edge_agent_captures_accepted_total"] == 1
        assert any(name.startswith("edge_agent_model_info{") and 'version="1.0"' in name for name in got)
        assert scrape(metrics, "/other")[0] == 404
        assert agent.stop() == 0
        assert not metrics.exists()

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to other groups")
    def test_its_group_is_the_one_of_the_agents_socket(self, agent: AgentProcess) -> None:
        agent.start(MetricsSocketName="m.sock", UnixSocketGroup="12345")
        assert {(agent.work / "m.sock").stat().st_gid, agent.socket.stat().st_gid} == {12345}

    def test_who_asks_slowly_is_ended_and_few_are_heard_at_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., None]
    ) -> None:
        monkeypatch.setattr(prometheus, "_TIMEOUT_SECONDS", 1.0)
        before = threading.active_count()
        metrics = prometheus.MetricsSocket(tmp_path / "m", mode=0o600, group="", text=lambda: "x 1\n")
        with contextlib.ExitStack() as held:
            held.callback(metrics.close)
            clients = [held.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(12)]
            for client in clients:
                client.connect(str(tmp_path / "m"))
            assert threading.active_count() <= before + 1 + 4
            ended = 0
            while ended < len(clients):
                for client in clients:
                    try:
                        client.send(b"G")  # never a whole line
                    except OSError:
                        ended += 1
                ended = ended if ended == len(clients) else 0
                time.sleep(0.02)
            eventually(lambda: threading.active_count() == before + 1)
            assert scrape(tmp_path / "m") == (200, "x 1\n")
        assert not (tmp_path / "m").exists()


class TestRefusedLoads:
    def refused(self, agent: AgentProcess) -> dict[str, float]:
        got = values(scrape(agent.work / "m.sock")[1])
        counted = {re.search(r"load_failures_(\w+)_total", name): value for name, value in got.items()}
        return {match[1]: value for match, value in counted.items() if match is not None}

    @pytest.mark.parametrize("reason", ["integrity", "memory", "format", "missing"])
    def test_one_is_counted_by_its_reason(
        self, agent: AgentProcess, package: Path, make_package: Callable[..., Path], reason: str
    ) -> None:
        agent.start(MetricsSocketName="m.sock", MaxModels="1")
        other = make_package({"model.onnx": b"not a model"}, name="other")
        with agent.client() as client:
            if reason == "memory":
                client.load_model(str(package), "first")
            if reason == "integrity":
                with (package / "model.onnx").open("ab") as model:
                    model.write(b"altered")
            path = {"format": other, "missing": package / "absent"}.get(reason, package)
            with pytest.raises(AgentError):
                client.load_model(str(path), "digits")
        assert self.refused(agent) == {
            **dict.fromkeys(("integrity", "memory", "format", "missing"), 0.0),
            reason: 1.0,
        }

    def test_what_a_caller_did_wrong_is_none(self, agent: AgentProcess, package: Path) -> None:
        agent.start(MetricsSocketName="m.sock")
        with agent.client() as client:
            client.load_model(str(package), "digits")
            for url, handle in ((str(package), "digits"), (str(package), "no handle"), ("s3://bucket/model", "other")):
                with pytest.raises(AgentError):
                    client.load_model(url, handle)
        assert set(self.refused(agent).values()) == {0.0}

    def test_a_model_under_a_known_handle_is_counted_anew(self, agent: AgentProcess, package: Path) -> None:
        agent.start(MetricsSocketName="m.sock")
        with agent.client() as client:
            client.load_model(str(package), "digits")
            client.predict("digits", {"x": X})
            client.unload_model("digits")
            client.load_model(str(package), "digits")
        got = values(scrape(agent.work / "m.sock")[1])
        assert got["edge_agent_predictions_total"] == 1
        assert got['edge_agent_model_predictions_total{handle="digits",model="digits"}'] == 0


class TestCounters:
    def test_with_a_database_they_survive_a_restart_and_crashes_are_counted(
        self, agent: AgentProcess, package: Path, eventually: Callable[..., None]
    ) -> None:
        parameters: dict[str, Any] = {
            "DbEnable": "true",
            "MetricsSocketName": "m.sock",
            "CaptureDataPushPeriodSeconds": "0.05",
        }
        agent.start(**parameters)
        with agent.client() as client:
            client.load_model(str(package), "digits")
            client.predict("digits", {"x": X})
            client.capture_data("digits", "a", {"x": X}, {})
            eventually(lambda: client.capture_status("a") is CaptureStatus.SUCCESS)
        agent.stop()
        agent.start(**parameters)
        with agent.client() as client:
            assert client.capture_status("a") is CaptureStatus.SUCCESS
        agent.stop(signal.SIGKILL)
        agent.start(**parameters)
        got = values(scrape(agent.work / "m.sock")[1])
        assert got["edge_agent_starts_total"] == 3
        assert got["edge_agent_crashes_total"] == 1
        assert got["edge_agent_predictions_total"] == 1
        assert got["edge_agent_captures_delivered_total"] == 1

    def test_without_one_they_begin_anew(self, agent: AgentProcess) -> None:
        for _ in range(2):
            agent.start(MetricsSocketName="m.sock")
            assert values(scrape(agent.work / "m.sock")[1])["edge_agent_starts_total"] == 1
            agent.stop()
        assert not (agent.work / "counters.json").exists()

    @pytest.mark.parametrize("saved", ["[]", "{", '{"starts": 1e999}', '{"predictions": 7, "starts": "many"}'])
    def test_damaged_ones_are_pointed_out(self, agent: AgentProcess, saved: str) -> None:
        (agent.work / "counters.json").write_text(saved)
        agent.start(DbEnable="true")
        assert agent.events("counters_unreadable")


class TestFlags:
    def test_the_flags_of_edge_managers_agent_work(self, agent: AgentProcess, package: Path) -> None:
        # -c is what the helper gives already
        agent.start("-f", "-a", str(agent.work / "other.sock"), "-m", "5000000", wait=False)
        with AgentClient(agent.work / "other.sock", shared_memory=False) as client:
            client.wait_until_ready(20)
            client.load_model(str(package), "digits")
            with pytest.raises(AgentError, match="RESOURCE_EXHAUSTED"):
                client.predict("digits", {"x": np.zeros((400_000, 4), np.float32)})
            assert client.predict("digits", {"x": np.zeros((200_000, 4), np.float32)})["y"].shape == (200_000, 3)

    def test_edge_managers_own_configuration_file_is_enough(self, agent: AgentProcess, package: Path) -> None:
        agent.work.joinpath("edge.json").write_text(
            json.dumps(
                {
                    "sagemaker_edge_core_device_name": "named-in-the-file",
                    "sagemaker_edge_core_device_fleet_name": "fleet",
                    "sagemaker_edge_core_capture_data_push_period_seconds": 1,
                    "sagemaker_edge_provider_provider_path": "/opt/libprovider_aws.so",
                }
            )
        )
        agent.start("-c", "edge.json", "-a", str(agent.socket))
        with agent.client() as client:
            client.load_model(str(package), "digits")
            client.capture_data("digits", "a", {"x": X}, {})
        assert agent.stop() == 0
        (record,) = agent.disk_records()
        assert record["eventMetadata"]["deviceId"] == "named-in-the-file"
        (event,) = agent.events("parameters_without_effect")
        assert event["names"] == ["sagemaker_edge_provider_provider_path"]

    def test_a_changed_file_is_read_again_at_a_signal(
        self, agent: AgentProcess, eventually: Callable[..., None]
    ) -> None:
        agent.start()
        config = agent.work / "config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), "CaptureDataBatchSize": "7"}))
        agent.process.send_signal(signal.SIGUSR1)
        eventually(lambda: agent.events("configuration_applied"))
        assert agent.events("configuration_applied")[0]["changed"] == ["capture_data_batch_size"]

    def test_another_region_is_taken_at_a_signal(self, agent: AgentProcess, eventually: Callable[..., None]) -> None:
        own = {
            "sagemaker_edge_core_device_name": "device",
            "sagemaker_edge_core_device_fleet_name": "fleet",
            "sagemaker_edge_core_region": "eu-west-1",
        }
        file = agent.work / "edge.json"
        file.write_text(json.dumps(own))
        agent.start("-c", "edge.json", "-a", str(agent.socket))
        file.write_text(json.dumps({**own, "sagemaker_edge_core_region": "us-west-2"}))
        agent.process.send_signal(signal.SIGUSR1)
        eventually(lambda: agent.events("configuration_applied"))
        assert agent.events("configuration_applied")[0]["changed"] == ["bucket_region"]

    def test_other_credentials_are_taken_at_a_signal(
        self, agent: AgentProcess, package: Path, s3: S3, eventually: Callable[..., None]
    ) -> None:
        agent.start(
            CaptureDataDestination="Cloud", BucketName="captures-sagemaker-test", CaptureDataPushPeriodSeconds="0.1"
        )
        with agent.client() as client:
            client.load_model(str(package), "digits")
            client.capture_data("digits", "a", {"x": X}, {})
            eventually(lambda: s3.puts)
            provider = {
                "aws_iot_cred_endpoint": "https://127.0.0.1:9/role-aliases/a/credentials",
                "aws_ca_cert_file": "/absent.pem",
                "aws_cert_file": "/absent.pem",
                "aws_cert_pk_file": "/absent.key",
            }
            config = agent.work / "config.json"
            added = {f"sagemaker_edge_provider_{name}": value for name, value in provider.items()}
            values = json.loads(config.read_text())
            config.write_text(json.dumps({**values, **added}))
            agent.process.send_signal(signal.SIGUSR1)
            eventually(lambda: agent.events("configuration_applied"))
            client.capture_data("digits", "b", {"x": X}, {})
            eventually(lambda: agent.events("delivery_failed"))
        assert "127.0.0.1:9" in agent.events("delivery_failed")[0]["error"]


class TestDoctor:
    def doctor(self, agent: AgentProcess, **parameters: str) -> subprocess.CompletedProcess[str]:
        config = agent.work / "doctor.json"
        config.write_text(json.dumps({"DeviceFleetName": "f", "UnixSocketName": str(agent.socket), **parameters}))
        return subprocess.run(
            [sys.executable, "-m", "edge_agent", "doctor", "-c", str(config)],
            cwd=agent.work,
            env={**agent._environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def test_it_tells_what_a_run_would_find(self, agent: AgentProcess, package: Path) -> None:
        before = sorted(agent.work.rglob("*"))
        done = self.doctor(agent, CaptureDataDestination="Disk")
        assert done.returncode == 0, done.stdout
        assert "free; no agent runs there" in done.stdout
        assert "CPUExecutionProvider" in done.stdout
        assert "none needed: captures stay on this device" in done.stdout
        assert sorted(agent.work.rglob("*")) == [*before, agent.work / "doctor.json"]  # it changed nothing
        agent.start()
        with agent.client() as client:
            client.load_model(str(package), "digits")
        assert f"an agent answers; loaded models: digits ({package})" in self.doctor(agent, BucketName="bucket").stdout
        agent.stop(signal.SIGKILL)
        assert "left by an agent that is gone" in self.doctor(agent, BucketName="bucket").stdout

    @pytest.mark.parametrize(("bound", "mark"), [(0, "ok"), (2 << 20, "ok"), (1 << 20, "note")])
    def test_it_tells_what_captures_on_disk_take_of_their_bound(
        self, agent: AgentProcess, bound: int, mark: str
    ) -> None:
        folder = agent.work / "captured/sme-capture/f/digits"
        folder.mkdir(parents=True)
        (folder / "a").write_bytes(bytes(1 << 20))
        where = {"CaptureDataDestination": "Disk", "CaptureDataDiskPath": "captured", "FolderPrefix": "sme-capture"}
        done = self.doctor(agent, **where, CaptureDataDiskMaxBytes=str(bound))
        assert done.returncode == 0
        (line,) = [line for line in done.stdout.splitlines() if "CaptureDataDiskMaxBytes" in line]
        assert line.split()[0] == mark
        assert (f"{1 << 20} of {bound} bytes" if bound else f"{1 << 20} bytes in use, without a bound") in line

    def test_a_process_that_holds_the_socket_and_takes_nobody_is_told_at_once(self, agent: AgentProcess) -> None:
        with socket.socket(socket.AF_UNIX) as holder, contextlib.ExitStack() as waiting:
            holder.bind(str(agent.socket))
            holder.listen(0)
            while unix_socket.knock(agent.socket) == 0:  # as a stopped process: nobody accepts
                one = waiting.enter_context(socket.socket(socket.AF_UNIX))
                one.setblocking(False)  # noqa: FBT003 # the socket's own signature
                one.connect_ex(str(agent.socket))
            with pytest.raises(unix_socket.OccupiedError, match="it is stopped or hangs"):
                unix_socket.claim(agent.socket)
            done = self.doctor(agent, BucketName="bucket")
            assert done.returncode == 1
            assert "takes no clients" in done.stdout
            assert agent.socket.is_socket()

    @pytest.mark.parametrize(
        ("parameters", "finding"),
        [
            ({}, "BucketName"),
            ({"BucketName": "b-1", "ExecutionProviders": "QNNExecutionProvider"}, "QNNExecutionProvider is not in"),
            ({"BucketName": "b-1", "RootCertsPath": "absent"}, "RootCertsPath"),
            ({"BucketName": "b-1", "UnixSocketName": "absent/a.sock"}, "UnixSocketName"),
        ],
    )
    def test_what_is_in_a_runs_way_is_marked(
        self, agent: AgentProcess, parameters: dict[str, str], finding: str
    ) -> None:
        done = self.doctor(agent, **parameters)
        assert done.returncode == 1
        (line,) = [line for line in done.stdout.splitlines() if line.startswith("BAD")]
        assert finding in line


class TestSystemd:
    def unit(self) -> str:
        text = DOCUMENT.read_text(encoding="utf-8")
        return text.split("```ini\n", 1)[1].split("```", 1)[0]

    def test_the_documented_unit_is_one_that_systemd_takes(self, tmp_path: Path) -> None:
        if (analyze := shutil.which("systemd-analyze")) is None:
            pytest.skip("NOT TESTED: the unit file, as systemd-analyze is not installed")
        # Where the document puts programs and users, a test machine has others.
        text = self.unit().replace("/opt/edge-agent/venv/bin/python", sys.executable)
        text = text.replace("User=edge-agent", "User=root").replace("Group=edge-agent", "Group=root")
        path = tmp_path / "edge-agent.service"
        path.write_text(text)
        done = subprocess.run(
            [analyze, "verify", "--man=no", str(path)], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        assert str(path.name) not in done.stderr  # no warnings about it either

    def test_its_command_serves_and_ends_by_its_signal(self, agent: AgentProcess, package: Path) -> None:
        lines = dict(line.split("=", 1) for line in self.unit().splitlines() if "=" in line)
        config = agent.work / "agent.json"
        example = DOCUMENT.read_text(encoding="utf-8").split("```json\n", 1)[1].split("```", 1)[0]
        keys = json.loads(example)
        keys = {key: value for key, value in keys.items() if "provider_aws" not in key and "root_path" not in key}
        config.write_text(json.dumps({**keys, "sagemaker_edge_core_capture_data_disk_path": str(agent.work / "c")}))
        replaced = {
            "/opt/edge-agent/venv/bin/python": sys.executable,
            "/opt/edge-agent/agent": str(SOURCES / "agent"),
            "/etc/edge-agent/agent.json": str(config),
            "/run/edge-agent/agent.sock": str(agent.socket),
        }
        command = [replaced.get(word, word) for word in shlex.split(lines["ExecStart"])]
        command.remove("-I")  # the source tree keeps the common packages elsewhere than an artifact does
        environment = {**agent._environment, "PATH": os.environ["PATH"]}
        with subprocess.Popen(command, cwd=agent.work, env=environment, stdout=subprocess.PIPE, text=True) as process:
            with agent.client() as client:
                client.wait_until_ready(20)
                client.load_model(str(package), "digits")
                assert client.predict("digits", {"x": X})["y"].shape == (1, 3)
            process.send_signal(getattr(signal, lines["KillSignal"]))
            assert process.wait(int(lines["TimeoutStopSec"])) == 0
