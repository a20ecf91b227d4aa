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
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from packaging.markers import Marker

import edge_recipe
from edge_contract.client import AgentClient
from local.core_device.ipc_server import IpcError, IpcServer, Stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
