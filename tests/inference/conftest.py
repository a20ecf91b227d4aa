# SPDX-License-Identifier: Apache-2.0
"""An inference component as the process that it is on a device: the real agent beside it, AWS's IPC client in it."""

from __future__ import annotations

import asyncio
import base64
import concurrent.futures
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edge_contract.client import AgentClient
from edge_package import write_directory
from local.core_device.ipc_server import IpcError, IpcServer, Stream
from local.core_device.updates import ComponentUpdates

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
TOKEN = "a token"  # noqa: S105 # of nothing
AGENT = "dev.com.edgemanager.Agent"


class NucleusService:
    """What the component needs of a nucleus, behind the local core device's IPC server."""

    def __init__(self, own: str, configuration: dict[str, dict[str, Any]]) -> None:
        self._own = own
        self.configuration = configuration
        self.published: list[tuple[str, dict[str, Any]]] = []
        self.refuse_publishing = False
        self.updates: ComponentUpdates | None = None  # as on lite, unless a test says otherwise
        self._watchers: list[tuple[str, Stream]] = []

    def component_of(self, token: str) -> str | None:
        return self._own if token == TOKEN else None

    async def call(self, operation: str, request: Mapping[str, Any], stream: Stream) -> tuple[Mapping[str, Any], bool]:
        component = request.get("componentName") or self._own
        if operation == "GetConfiguration":
            if component not in self.configuration:
                raise IpcError("ResourceNotFoundError", f"no component {component}")
            return {"componentName": component, "value": self.configuration[component]}, False
        if operation == "SubscribeToConfigurationUpdate":
            watcher = (component, stream)
            self._watchers.append(watcher)
            stream.on_close(lambda: self._watchers.remove(watcher))
            return {}, True
        if operation in {"SubscribeToComponentUpdates", "DeferComponentUpdate"}:
            if self.updates is None:
                raise IpcError("ServiceError", f"no operation {operation}")
            if operation == "DeferComponentUpdate":
                return self.updates.defer(request, stream), False
            return self.updates.subscribe(request, stream), True
        assert operation == "PublishToIoTCore"
        if self.refuse_publishing:
            raise IpcError("UnauthorizedError", "the policy does not allow this topic")
        assert request["qos"] == "1"
        self.published.append((request["topicName"], json.loads(base64.b64decode(request["payload"]))))
        return {}, False

    def tell(self, component: str) -> None:
        event = {"configurationUpdateEvent": {"componentName": component, "keyPath": []}}
        for watched, stream in self._watchers:
            if watched == component:
                stream.send("ConfigurationUpdateEvents", event)


class Nucleus:
    """The service on its socket, in a thread."""

    def __init__(self, directory: Path, own: str, configuration: dict[str, dict[str, Any]]) -> None:
        self._directory = directory
        self.service = NucleusService(own, configuration)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.open()

    def open(self) -> None:
        self.server = IpcServer(self._directory, self.service)
        asyncio.run_coroutine_threadsafe(self.server.open(), self._loop).result(10)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self.server.close(), self._loop).result(10)

    def end(self) -> None:
        self.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def update(self, deployment: str, *, seconds: float = 60.0) -> concurrent.futures.Future[None]:
        """Ask the components before an update; done when they let it through."""
        assert self.service.updates is not None
        waiting = self.service.updates.wait_for_components(deployment, seconds=seconds)
        return asyncio.run_coroutine_threadsafe(waiting, self._loop)

    def end_update(self, deployment: str) -> None:
        assert self.service.updates is not None
        self._loop.call_soon_threadsafe(self.service.updates.tell_done, deployment)

    def configure(self, component: str, **parameters: object) -> None:
        """Change parameters as a deployment does, and tell who watches."""

        def change() -> None:
            self.service.configuration.setdefault(component, {}).update(parameters)
            self.service.tell(component)

        self._loop.call_soon_threadsafe(change)


class Process:
    """A component's process, with its log."""

    def __init__(self, arguments: list[str], *, work: Path, log: Path, environment: Mapping[str, str]) -> None:
        self._log = log
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTHON"))}
        paths = [str(ROOT / "component_src" / name) for name in ("agent", "common")]
        with log.open("ab") as file:
            self.popen = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=work,
                env={**clean, **environment, "PYTHONPATH": os.pathsep.join(paths)},
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self._log.read_text(encoding="utf-8").splitlines() if line[-1:] == "}"]
        return [line for line in lines if line["event"] == name]

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.popen.send_signal(number)
        return self.popen.wait(timeout=15)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.popen.kill()
        self.popen.wait(timeout=10)


class Device:
    """A nucleus, the agent and a component, each started when a test says so.

    `folder` is the component's in component_src, `own` its name, `model` the folder of its model.
    """

    def __init__(self, root: Path, *, folder: str, own: str, model: str) -> None:
        self._folder = folder
        self._source = ROOT / "models" / model
        self.images = root / "images"
        self.model = root / f"dev.com.edgemanager.model.{model}"
        self._agent_work = root / AGENT
        self._own_work = root / own
        for directory in (self.images, self.model, self._agent_work, self._own_work):
            directory.mkdir()
        self._root = root
        described = tomllib.loads((self._source / "model.toml").read_text(encoding="utf-8"))
        files = {name: (self._source / name).read_bytes() for name in described["files"]}
        write_directory(model_name=model, model_version="1.0", files=files, target=self.model)
        self.socket = root / "agent.sock"
        self._processes: list[Process] = []
        configuration: dict[str, dict[str, Any]] = {
            AGENT: {"UnixSocketName": str(self.socket)},
            own: {
                "EdgeManagerComponent": AGENT,
                "ModelPath": f"../{self.model.name}",
                "ImageDirectory": str(self.images),
                "Labels": [str(digit) for digit in range(10)],
                "Preprocessing": described["preprocessing"],
            },
        }
        self.nucleus = Nucleus(root, own, configuration)

    @property
    def published(self) -> list[tuple[str, dict[str, Any]]]:
        return self.nucleus.service.published

    def add_images(self, count: int) -> list[str]:
        paths = sorted((self._source / "held_out").glob("*.png"))[:count]
        for path in paths:
            shutil.copy(path, self.images)
        return [path.name for path in paths]

    def start_agent(self, **parameters: str) -> Process:
        values = {
            "DeviceFleetName": "dev-fleet",
            "UnixSocketName": str(self.socket),
            "CaptureDataDestination": "Disk",
            "CaptureDataBufferSize": "100000",
        }
        config = self._root / "agent.json"
        config.write_text(json.dumps({**values, **parameters}), encoding="utf-8")
        process = Process(
            ["-m", "edge_agent", "--config", str(config)],
            work=self._agent_work,
            log=self._root / "agent.log",
            environment={"AWS_IOT_THING_NAME": "dev-device-1"},
        )
        self._processes.append(process)
        return process

    def start(self) -> Process:
        recipe = json.loads((ROOT / "component_src" / self._folder / "recipe.json").read_text(encoding="utf-8"))
        process = Process(
            [str(ROOT / "component_src" / self._folder)],
            work=self._own_work,
            log=self._root / "component.log",
            environment={
                **recipe["Manifests"][0]["Lifecycle"]["run"]["Setenv"],
                "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT": str(self.nucleus.server.path),
                "SVCUID": TOKEN,
            },
        )
        self._processes.append(process)
        return process

    def loaded(self) -> list[str]:
        with AgentClient(self.socket) as client:
            return [model.name for model in client.list_models()]

    def captures(self) -> list[dict[str, Any]]:
        """The records that the agent wrote to its disk."""
        manifests = self._agent_work.rglob("*.jsonl")
        return [json.loads(line) for path in manifests for line in path.read_bytes().splitlines()]

    def end(self) -> None:
        for process in self._processes:
            process.kill()
        self.nucleus.end()


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    own = "dev.com.edgemanager.ImageClassification"
    device = Device(tmp_path, folder="image_classification", own=own, model="digits")
    yield device
    device.end()


@pytest.fixture
def asking_device(device: Device) -> Device:
    """One whose nucleus asks before an update, as the classic one does."""
    device.nucleus.service.updates = ComponentUpdates()
    return device


@pytest.fixture
def detecting_device(tmp_path: Path) -> Iterator[Device]:
    own = "dev.com.edgemanager.ObjectDetection"
    device = Device(tmp_path, folder="object_detection", own=own, model="digitdetector")
    yield device
    device.end()


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Waits until a condition holds, and fails with its last value when it does not in time."""

    def wait(condition: Callable[[], object], *, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, f"not within {seconds} s; the last value was {value!r}"
            time.sleep(0.02)

    return wait
