# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import base64
import dataclasses
import datetime as dt
import hashlib
import io
import json
import subprocess
import threading
import time
import zipfile
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest

from local.core_device.cloud import (
    CloudRefusedError,
    CloudUnreachableError,
    ComponentRequest,
    Credentials,
    Deployment,
    EffectiveDeployment,
)
from local.core_device.device import CoreDevice
from local.core_device.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

GROUP = "arn:aws:iot:us-east-1:111122223333:thinggroup/fleet"
TOPIC = "arn:aws:iot:us-east-1:111122223333:topic"
TOPICS = [f"{TOPIC}/allowed/*", f"{TOPIC}/$aws/things/device-1/jobs/*", f"{TOPIC}/$aws/things/device-1/greengrassv2/*"]


class MemoryCloud:
    """The cloud in this process; `reachable` is its network."""

    def __init__(self, thing: str) -> None:
        self.thing = thing
        self.reachable = True
        self.objects: dict[str, bytes] = {}
        self.recipes: dict[tuple[str, str], bytes] = {}
        self.deployments: dict[str, tuple[EffectiveDeployment, Deployment]] = {}
        self.published: list[tuple[str, Any]] = []
        self.downloads: list[str] = []
        self.lifetime = dt.timedelta(hours=1)
        self.issued = 0

    def effective_deployments(self) -> Sequence[EffectiveDeployment]:
        self._reach()
        return [effective for effective, _ in self.deployments.values()]

    def deployment(self, deployment_id: str) -> Deployment:
        self._reach()
        return self.deployments[deployment_id][1]

    def component_versions(self, name: str) -> Sequence[str]:
        self._reach()
        return [version for other, version in self.recipes if other == name]

    def recipe(self, name: str, version: str) -> bytes:
        self._reach()
        if (name, version) not in self.recipes:
            raise CloudRefusedError(f"no component {name} {version}")
        return self.recipes[name, version]

    def download(self, uri: str, target: BinaryIO, credentials: Credentials) -> None:
        self._reach()
        assert credentials.access_key_id
        self.downloads.append(uri)
        target.write(self.objects[uri])

    def role_credentials(self, role_alias: str) -> Credentials:
        self._reach()
        if role_alias != "alias":
            raise CloudRefusedError(f"no role alias {role_alias}")
        self.issued += 1
        expiration = dt.datetime.now(dt.UTC) + self.lifetime
        return Credentials(f"key-{self.issued}", "secret", "token", expiration)

    def policy_document(self, name: str) -> Mapping[str, Any]:
        self._reach()
        assert name == "policy"
        return {"Statement": [{"Effect": "Allow", "Action": "iot:Publish", "Resource": TOPICS}]}

    def publish(self, topic: str, payload: bytes, *, qos: int) -> None:
        self._reach()
        assert qos in {0, 1}
        message = json.loads(payload)
        self.published.append((topic, message))
        prefix = f"$aws/things/{self.thing}/jobs/"
        if topic.startswith(prefix):
            job = topic.removeprefix(prefix).removesuffix("/update")
            for id_, (effective, content) in self.deployments.items():
                if effective.job_id == job:
                    self.deployments[id_] = (dataclasses.replace(effective, status=message["status"]), content)

    def _reach(self) -> None:
        if not self.reachable:
            raise CloudUnreachableError("no network")


class Harness:
    """A core device in a thread, its cloud, and short ways to deploy to it and to wait for it."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.cloud = MemoryCloud("device-1")
        defaults: dict[str, Any] = {
            "poll_seconds": 0.02,
            "settle_seconds": 0.15,
            "restart_seconds": 0.05,
            "stop_seconds": 3.0,
        }
        self.options = Options(
            thing_name="device-1",
            root=root,
            region="us-east-1",
            role_alias="alias",
            iot_policy="policy",
            **(defaults | options),
        )
        self.device: Any = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.failure: BaseException | None = None

    @property
    def root(self) -> Path:
        return self.options.root

    def start(self) -> None:
        ready = threading.Event()

        async def run() -> None:
            self._loop = asyncio.get_running_loop()
            self.device = CoreDevice(self.options, self.cloud)
            ready.set()
            await self.device.run()

        def target() -> None:
            try:
                asyncio.run(run())
            except BaseException as error:  # noqa: BLE001 # stop() raises it in the test
                self.failure = error
            finally:
                ready.set()

        self._thread = threading.Thread(target=target, name="core device")
        self._thread.start()
        assert ready.wait(5)
        self.wait(lambda: self.failure or (self.root / "state.json").exists())

    def stop(self) -> None:
        if self._thread is None:
            return
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.device.stop)
        self._thread.join(20)
        assert not self._thread.is_alive()
        self._thread = None
        if self.failure is not None:
            raise self.failure

    def add(
        self,
        name: str,
        version: str = "1.0.0",
        *,
        run: Any = None,
        install: Any = None,
        defaults: Mapping[str, Any] | None = None,
        dependencies: Mapping[str, str] | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        """Create a component version; `files` become its artifact, a zip."""
        lifecycle = {key: value for key, value in (("install", install), ("run", run)) if value is not None}
        if isinstance(lifecycle.get("install"), str):
            lifecycle["install"] = {"Script": lifecycle["install"], "Timeout": 30}
        artifacts = []
        if files is not None:
            uri = f"s3://bucket/{name}/{version}/content.zip"
            self.cloud.objects[uri] = archive(files)
            artifacts.append(
                {
                    "Uri": uri,
                    "Unarchive": "ZIP",
                    "Digest": base64.b64encode(hashlib.sha256(self.cloud.objects[uri]).digest()).decode(),
                    "Algorithm": "SHA-256",
                }
            )
        recipe = {
            "RecipeFormatVersion": "2020-01-25",
            "ComponentName": name,
            "ComponentVersion": version,
            "ComponentConfiguration": {"DefaultConfiguration": defaults or {}},
            "ComponentDependencies": {
                key: {"VersionRequirement": value, "DependencyType": "HARD"}
                for key, value in (dependencies or {}).items()
            },
            "Manifests": [
                {"Platform": {"os": "linux", "runtime": "*"}, "Lifecycle": lifecycle, "Artifacts": artifacts}
            ],
        }
        self.cloud.recipes[name, version] = json.dumps(recipe).encode()

    def deploy(
        self, components: Mapping[str, Any], *, rollback: bool = True, target: str = GROUP, **policies: Any
    ) -> str:
        """Create a deployment; a component is a version or a ComponentRequest."""
        id_ = f"deployment-{len(self.cloud.deployments) + 1}"
        requests = {
            name: value if isinstance(value, ComponentRequest) else ComponentRequest(version=value)
            for name, value in components.items()
        }
        effective = EffectiveDeployment(
            id=id_,
            target=target,
            job_id=f"job-{id_}",
            status="QUEUED",
            created=time.time() + len(self.cloud.deployments),
        )
        content = Deployment(id=id_, target=target, components=requests, rollback=rollback, **policies)
        self.cloud.deployments[id_] = (effective, content)
        return id_

    def deploy_and_wait(self, components: Mapping[str, Any], *, expect: str = "SUCCEEDED", **more: Any) -> Any:
        """Deploy and wait for the report; give its details."""
        id_ = self.deploy(components, **more)
        self.wait(lambda: self.cloud.deployments[id_][0].status in {"SUCCEEDED", "FAILED"})
        self.wait(lambda: self.state()["deployment"].get("id") == id_)
        details = [m for topic, m in self.cloud.published if topic.endswith(f"job-{id_}/update")][-1]
        assert details["status"] == expect, details
        return details["statusDetails"]

    def state(self) -> Any:
        return json.loads((self.root / "state.json").read_text())

    def component(self, name: str) -> Any:
        return self.state()["components"].get(name)

    def log(self, name: str) -> str:
        path = self.root / "logs" / f"{name}.log"
        return path.read_text() if path.exists() else ""

    @staticmethod
    def wait(condition: Callable[[], Any], seconds: float = 15) -> Any:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if value := condition():
                return value
            time.sleep(0.01)
        raise AssertionError("it did not happen in time")


def archive(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return buffer.getvalue()


def is_running(pid: int) -> bool:
    """An orphan that init has not reaped is dead all the same."""
    command = ["/bin/ps", "-o", "stat=", "-p", str(pid)]
    state = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return bool(state) and not state.startswith("Z")


@pytest.fixture(name="is_alive")
def _is_alive() -> Any:
    return is_running


@pytest.fixture(name="make_cloud")
def _make_cloud() -> Any:
    return MemoryCloud


@pytest.fixture(name="make_archive")
def _make_archive() -> Any:
    return archive


@pytest.fixture(name="make_device")
def _make_device(tmp_path: Path) -> Iterator[Any]:
    made: list[Harness] = []

    def make(**options: Any) -> Harness:
        harness = Harness(options.pop("root", tmp_path / "device"), **options)
        made.append(harness)
        return harness

    yield make
    for harness in made:
        harness.stop()


@pytest.fixture(name="device")
def _device(make_device: Any) -> Any:
    """A core device that runs."""
    harness = make_device()
    harness.start()
    return harness
