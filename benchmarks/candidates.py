# SPDX-License-Identifier: Apache-2.0
"""What is compared: each candidate is started with the models, asked by workers, and stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_package import write_directory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.models import Subject

ROOT = Path(__file__).parents[1]
PEERS_PYTHON = ROOT / ".venv/peers/bin/python"
_SOURCES = os.pathsep.join(str(ROOT / path) for path in (".", "component_src/agent", "component_src/common"))
_STOP_SECONDS = 15


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One way to a prediction.

    Attributes:
        name: For the report.
        transport: One of the worker's.
        address: Where its server listens; empty without one.
        python: The environment of its clients.
        shared_memory: Whether its clients use it.
        variables: The environment variables that its clients have of their own.
    """

    name: str
    transport: str
    address: str = ""
    python: Path = Path(sys.executable)
    shared_memory: bool = False
    variables: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def worker_spec(self, subject: Subject, paths: Mapping[str, Path]) -> dict[str, Any]:
        """What a worker is told."""
        return {
            "transport": self.transport,
            "address": self.address,
            "shared_memory": self.shared_memory,
            "model": subject.name,
            "path": str(paths[subject.name]),
            "input": subject.input_name,
            "dtype": subject.dtype,
            "shape": subject.shape,
        }


@dataclasses.dataclass(frozen=True)
class Server:
    """How a server is started.

    Attributes:
        command: Its program.
        address: Where it will listen.
        work: Its directory.
    """

    command: Sequence[str]
    address: str
    work: Path

    def start(self) -> subprocess.Popen[bytes]:
        """Start it in a process group of its own, its output in a file."""
        with (self.work / "server.log").open("wb") as stream:
            return subprocess.Popen(  # noqa: S603 # the project's own programs
                self.command,
                cwd=self.work,
                env=environment(),
                stdout=stream,
                stderr=subprocess.STDOUT,
                process_group=0,  # a session of its own would be a scheduler's group of its own
            )

    def listens(self) -> bool:
        """Whether it accepts connections."""
        host, colon, port = self.address.rpartition(":")
        family, address = (socket.AF_INET, (host, int(port))) if colon else (socket.AF_UNIX, self.address)
        with socket.socket(family) as probe:
            return probe.connect_ex(address) == 0


def environment() -> dict[str, str]:
    """For servers and workers: this repository's sources, and no account."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {
        **kept,
        "PYTHONPATH": _SOURCES,
        "AWS_IOT_THING_NAME": "benchmark",
        "AWS_EC2_METADATA_DISABLED": "true",
        "ORT_DISABLE_TELEMETRY": "1",
    }


def stop(server: subprocess.Popen[bytes]) -> None:
    """Stop a server and all that it started."""
    server.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(_STOP_SECONDS)
    try:
        os.killpg(server.pid, signal.SIGKILL)  # what is left of its group
    except ProcessLookupError:
        return
    server.wait(_STOP_SECONDS)


def agent(work: Path, **parameters: str) -> Server:
    """The agent as its component runs it, without models."""
    address = str(work / "agent.sock")
    own = {"DeviceFleetName": "benchmark", "UnixSocketName": address, "CaptureDataDestination": "Disk"}
    (work / "agent.json").write_text(json.dumps({**own, **parameters}), encoding="utf-8")
    return Server([sys.executable, "-m", "edge_agent", "--config", str(work / "agent.json")], address, work)


def component_variables() -> dict[str, str]:
    """What the recipe of an inference component sets for its process, and so for its ``AgentClient``."""
    recipe = json.loads((ROOT / "component_src/image_classification/recipe.json").read_text(encoding="utf-8"))
    variables: dict[str, str] = recipe["Manifests"][0]["Lifecycle"]["run"]["Setenv"]
    return variables


def write_packages(subjects: Sequence[Subject], work: Path) -> None:
    """Write each model as a package for the agent."""
    for subject in subjects:
        directory = work / f"package-{subject.name}"
        directory.mkdir()
        write_directory(
            model_name=subject.name, model_version="1", files={"model.onnx": subject.content}, target=directory
        )


def mlserver(paths: Mapping[str, Path], work: Path) -> Server:
    """MLServer with all models in its own process, asked over gRPC."""
    http_port, grpc_port, metrics_port = free_ports(3)
    settings = {
        "host": "127.0.0.1",
        "http_port": http_port,
        "grpc_port": grpc_port,
        "metrics_port": metrics_port,
        "grpc_max_message_length": 128 * 1024 * 1024,
        "parallel_workers": 0,
        "debug": False,
    }
    (work / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    for name, path in paths.items():
        (work / name).mkdir()
        model = {"name": name, "implementation": "mlserver_runtime.OnnxModel", "parameters": {"uri": str(path)}}
        (work / name / "model-settings.json").write_text(json.dumps(model), encoding="utf-8")
    runtime = ROOT / "benchmarks/peers/mlserver_runtime.py"
    (work / runtime.name).write_bytes(runtime.read_bytes())  # it imports from the folder that it serves
    return Server([str(PEERS_PYTHON.with_name("mlserver")), "start", str(work)], f"127.0.0.1:{grpc_port}", work)


def litserve(paths: Mapping[str, Path], work: Path) -> Server:
    """LitServe with two workers."""
    (port,) = free_ports(1)
    models = work / "models.json"
    models.write_text(json.dumps({name: str(path) for name, path in paths.items()}), encoding="utf-8")
    command = [str(PEERS_PYTHON), str(ROOT / "benchmarks/peers/litserve_server.py"), str(port), str(models)]
    return Server(command, f"127.0.0.1:{port}", work)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
