# SPDX-License-Identifier: Apache-2.0
"""The agent as a Greengrass component: its recipe, its artifact's layout, its configuration over IPC."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from packaging.markers import Marker

import edge_recipe
from edge_contract.client import AgentClient
from edge_contract.errors import AgentError
from edge_package import read_package, write_directory
from local.core_device.ipc_server import IpcError, IpcServer, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SOURCE = Path(__file__).parents[2] / "component_src"


class Nucleus:
    """Answers the operations that the agent uses as the nucleus does, and refuses everything else."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.configuration: dict[str, Any] = {}
        self.published: list[tuple[str, dict[str, Any]]] = []
        self.refuses_publish = False
        self._loop = loop
        self._watchers: list[Stream] = []

    def component_of(self, token: str) -> str | None:
        return "agent" if token == "secret" else None  # noqa: S105 # of this test

    async def call(self, operation: str, request: Mapping[str, Any], stream: Stream) -> tuple[Mapping[str, Any], bool]:
        if operation == "GetConfiguration" and not request.get("keyPath"):
            return {"componentName": "agent", "value": self.configuration}, False
        if operation == "SubscribeToConfigurationUpdate":
            self._watchers.append(stream)
            return {}, True
        if operation == "PublishToIoTCore" and not self.refuses_publish:
            self.published.append((request["topicName"], json.loads(base64.b64decode(request["payload"]))))
            return {}, False
        raise IpcError("UnauthorizedError", operation)

    def merge(self, **parameters: str) -> None:
        """Change the configuration as a deployment does, key by key."""
        for name, value in parameters.items():
            self.configuration[name] = value
            event = {"configurationUpdateEvent": {"componentName": "agent", "keyPath": [name]}}
            for stream in self._watchers:
                self._loop.call_soon_threadsafe(stream.send, "ConfigurationUpdateEvents", event)


@pytest.fixture
def nucleus(tmp_path: Path) -> Iterator[tuple[Nucleus, Path]]:
    """A nucleus and its IPC socket."""
    loop = asyncio.new_event_loop()
    service = Nucleus(loop)
    server = IpcServer(tmp_path, service)
    loop.run_until_complete(server.open())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield service, server.path
    asyncio.run_coroutine_threadsafe(server.close(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """The component's unpacked artifact: its own files, and the common packages beside them."""
    target = tmp_path / "decompressed" / "agent"
    shutil.copytree(SOURCE / "agent", target, ignore=shutil.ignore_patterns("__pycache__", "recipe.json"))
    for name in ("edge_contract", "edge_package"):
        shutil.copytree(SOURCE / "common" / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    return target


@contextlib.contextmanager
def component(artifact: Path, work: Path, ipc: Path, token: str) -> Iterator[subprocess.Popen[str]]:
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_IOT_THING_NAME": "dev-device-1",
        "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT": str(ipc),
        "SVCUID": token,
    }
    command = [sys.executable, "-I", str(artifact)]
    with subprocess.Popen(command, cwd=work, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_unpacked_artifact_runs_isolated_and_is_configured_by_the_nucleus(
    nucleus: tuple[Nucleus, Path], artifact: Path, tmp_path: Path
) -> None:
    service, ipc = nucleus
    recipe = json.loads((SOURCE / "agent/recipe.json").read_text())
    defaults = recipe["ComponentConfiguration"]["DefaultConfiguration"]
    sock = tmp_path / "agent.sock"
    merged = {"DeviceFleetName": "fleet", "BucketName": "bucket", "UnixSocketName": str(sock)}
    service.configuration = {**defaults, **merged}
    with component(artifact, tmp_path, ipc, "secret") as process:
        with AgentClient(sock) as client:
            client.wait_until_ready(20)
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
        assert process.stdout is not None
        events = [json.loads(line)["event"] for line in process.stdout]
    assert events == ["agent_ready", "agent_stopping", "agent_stopped"]


@contextlib.contextmanager
def running(
    nucleus: tuple[Nucleus, Path], artifact: Path, work: Path, **parameters: str
) -> Iterator[tuple[subprocess.Popen[str], AgentClient]]:
    """The component, configured by the nucleus and ready; it captures to disk."""
    service, ipc = nucleus
    service.configuration = {
        "DeviceFleetName": "fleet",
        "CaptureDataDestination": "Disk",
        "UnixSocketName": str(work / "agent.sock"),
        **parameters,
    }
    with component(artifact, work, ipc, "secret") as process, AgentClient(work / "agent.sock") as client:
        client.wait_until_ready(20)
        yield process, client


def events_until_the_end(process: subprocess.Popen[str]) -> dict[str, dict[str, Any]]:
    """The last record of each event in a log; the process has to end by itself."""
    assert process.stdout is not None
    return {record["event"]: record for record in map(json.loads, process.stdout)}


class TestConfiguration:
    def test_a_change_is_applied_while_models_stay_loaded(
        self,
        nucleus: tuple[Nucleus, Path],
        artifact: Path,
        tmp_path: Path,
        package: Path,
        eventually: Callable[..., None],
    ) -> None:
        with running(nucleus, artifact, tmp_path, CaptureDataPushPeriodSeconds="3600") as (process, client):
            client.load_model(str(package), "digits")
            client.capture_data("digits", "a", {"x": np.ones((1, 4), np.float32)}, {})
            nucleus[0].merge(CaptureDataPushPeriodSeconds="0.1", FolderPrefix="elsewhere", MaxModels="1")
            eventually(lambda: list((tmp_path / "capture/elsewhere").rglob("*.jsonl")))
            assert [model.name for model in client.list_models()] == ["digits"]
            with pytest.raises(AgentError, match="at most 1 models"):
                client.load_model(str(package), "another")
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) == 0
            applied = events_until_the_end(process)["configuration_applied"]
        assert set(applied["changed"]) == {"capture_data_push_period_seconds", "folder_prefix", "max_models"}

    def test_a_mistake_is_refused_and_what_ran_goes_on(
        self, nucleus: tuple[Nucleus, Path], artifact: Path, tmp_path: Path
    ) -> None:
        with running(nucleus, artifact, tmp_path) as (process, client):
            nucleus[0].merge(CaptureDataBatchSize="ten")
            time.sleep(0.6)
            nucleus[0].merge(CaptureDataBatchSize="5", MaxModels="3")
            time.sleep(0.6)
            assert client.list_models() == []
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) == 0
            events = events_until_the_end(process)
        assert "CaptureDataBatchSize: expected a whole number, got 'ten'" in events["configuration_refused"]["error"]
        assert set(events["configuration_applied"]["changed"]) == {"capture_data_batch_size", "max_models"}

    def test_what_only_a_new_process_can_take_ends_this_one_for_a_restart(
        self, nucleus: tuple[Nucleus, Path], artifact: Path, tmp_path: Path, package: Path
    ) -> None:
        with running(nucleus, artifact, tmp_path, CaptureDataPushPeriodSeconds="3600") as (process, client):
            client.load_model(str(package), "digits")
            client.capture_data("digits", "a", {"x": np.ones((1, 4), np.float32)}, {})
            nucleus[0].merge(UnixSocketMode="0666")
            assert process.wait(20) == 75
            assert events_until_the_end(process)["restart_needed"]["parameters"] == ["unix_socket_mode"]
        assert list((tmp_path / "capture").rglob("*.jsonl"))  # it flushed before it went


class TestHeartbeat:
    def test_it_names_device_models_and_digests(
        self,
        nucleus: tuple[Nucleus, Path],
        artifact: Path,
        tmp_path: Path,
        package: Path,
        eventually: Callable[..., None],
    ) -> None:
        with running(nucleus, artifact, tmp_path, HeartbeatPeriodSeconds="1") as (_, client):
            client.load_model(str(package), "alias")
            client.predict("alias", {"x": np.ones((1, 4), np.float32)})
            client.capture_data("alias", "a", {"x": np.ones((1, 4), np.float32)}, {})
            eventually(lambda: [message for _, message in nucleus[0].published if message["Models"]])
        topic, message = next(one for one in nucleus[0].published if one[1]["Models"])
        assert topic == "gg/sageMakerEdgeManager/heartbeat"
        assert (message["DeviceName"], message["DeviceFleetName"]) == ("dev-device-1", "fleet")
        (model,) = message["Models"]
        assert (model["ModelName"], model["ModelVersion"], model["ModelHandle"]) == ("digits", "1.0", "alias")
        assert model["ModelDigest"] == read_package(package).manifest.digest
        assert model["LatestInference"] == pytest.approx(time.time(), abs=30)
        assert model["LatestSampleTime"] == pytest.approx(time.time(), abs=30)
        assert {one["MetricName"]: one["Value"] for one in model["ModelMetrics"]}["Predictions"] == 1
        values = {one["MetricName"]: one["Value"] for one in message["AgentMetrics"]}
        assert values["CapturesAccepted"] == 1
        assert values["MemoryBytes"] > 1_000_000

    def test_a_nucleus_that_refuses_it_does_no_harm(
        self, nucleus: tuple[Nucleus, Path], artifact: Path, tmp_path: Path, eventually: Callable[..., None]
    ) -> None:
        nucleus[0].refuses_publish = True
        with running(nucleus, artifact, tmp_path, HeartbeatPeriodSeconds="1") as (process, client):
            time.sleep(2.5)
            nucleus[0].refuses_publish = False
            eventually(lambda: nucleus[0].published)
            assert client.list_models() == []
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) == 0
            assert process.stdout is not None
            events = [json.loads(line)["event"] for line in process.stdout]
        assert events.count("heartbeat_not_sent") == 1  # said once, not every period
        assert events.count("heartbeat_sent_again") == 1


def test_doctor_sees_the_models_of_the_device(nucleus: tuple[Nucleus, Path], artifact: Path, tmp_path: Path) -> None:
    service, ipc = nucleus
    work = tmp_path / "work" / "agent"
    model = tmp_path / "work" / "model"
    work.mkdir(parents=True)
    write_directory(model_name="digits", model_version="1.0", files={"labels.txt": b"a"}, target=model)
    service.configuration = {"DeviceFleetName": "fleet", "BucketName": "bucket", "UnixSocketName": "agent.sock"}
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_IOT_THING_NAME": "dev-device-1",
        "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT": str(ipc),
        "SVCUID": "secret",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    command = [sys.executable, "-I", str(artifact), "doctor"]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{model}: digits 1.0, {read_package(model).manifest.digest[:12]}" in done.stdout
    (model / "labels.txt").write_bytes(b"b")
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert re.search(r"BAD +model +.*labels.txt", done.stdout)


def test_a_nucleus_that_refuses_is_reported(nucleus: tuple[Nucleus, Path], artifact: Path, tmp_path: Path) -> None:
    with component(artifact, tmp_path, nucleus[1], "wrong") as process:
        assert process.wait(40) == 1
        assert process.stdout is not None
        last = json.loads(process.stdout.read().splitlines()[-1])
    assert last["event"] == "agent_refused"
    assert last["error"].startswith("configuration: the nucleus did not give it")


def test_the_recipe_is_one_that_both_nuclei_accept() -> None:
    template = json.loads((SOURCE / "agent/recipe.json").read_text())
    rendered = edge_recipe.render(
        template,
        namespace="dev",
        version="1.0.0",
        artifact_base_uri="s3://bucket/components",
        own_components=set(),
        artifacts=["agent.zip"],
    )
    recipe = edge_recipe.parse(rendered, source="recipe.json")
    assert recipe.name == "dev.com.edgemanager.Agent"
    assert [dependency.name for dependency in recipe.dependencies] == ["aws.greengrass.TokenExchangeService"]


@pytest.mark.parametrize("python", ["3.9", "3.10", "3.11", "3.12", "3.13"])
def test_the_lock_has_one_hashed_version_of_each_requirement_for_every_python(python: str) -> None:
    lock = (SOURCE / "agent/requirements.txt").read_text().replace("\\\n", " ")
    pins = [line for line in lock.splitlines() if re.match(r"[a-z0-9]", line)]
    assert all("--hash=sha256:" in pin for pin in pins)
    environment = {"python_full_version": f"{python}.1", "python_version": python, "sys_platform": "linux"}
    names = [
        pin.split("==")[0]
        for pin in pins
        if ";" not in pin or Marker(pin.split(";")[1].split("--hash")[0].strip()).evaluate(environment)
    ]
    assert len(names) == len(set(names))
    wanted = {"awsiotsdk", "boto3", "grpcio", "numpy", "onnxruntime", "protobuf"}
    assert wanted <= set(names)
