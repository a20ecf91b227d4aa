# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import dataclasses
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_agent.engines import NATIVE_NEVER, EngineOptions
from edge_agent.loader import Loader, LoaderOptions
from edge_agent.transport import HTTP2
from edge_contract.client import AgentClient
from edge_package import write_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
FLEET, DEVICE, BUCKET = "dev-fleet", "dev-device-1", "captures-sagemaker-test"


def _value(name: str, shape: list[int | str], element: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, element, shape)


def _model(nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: list[Any] | None = None) -> bytes:
    graph = helper.make_graph(nodes, "test", inputs, outputs, weights or [])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


@pytest.fixture(scope="session")
def model_bytes() -> dict[str, bytes]:
    """Small models by what is special about them."""
    weights = numpy_helper.from_array(np.arange(12, dtype=np.float32).reshape(4, 3), "w")
    sub = [helper.make_node("Sub", ["left", "right"], ["difference"])]
    pair = [_value("left", [2]), _value("right", [2])]
    add = [helper.make_node("Add", ["image", "image"], ["twice"])]
    flag = helper.make_node("Not", ["flag"], ["other"])
    return {
        "matmul": _model(
            [helper.make_node("MatMul", ["x", "w"], ["y"])], [_value("x", ["n", 4])], [_value("y", ["n", 3])], [weights]
        ),
        "difference": _model(sub, pair, [_value("difference", [2])]),
        "image": _model(add, [_value("image", [1, 3, 2, 2])], [_value("twice", [1, 3, 2, 2])]),
        "boolean": _model([flag], [_value("flag", [1], TensorProto.BOOL)], [_value("other", [1], TensorProto.BOOL)]),
    }


@pytest.fixture
def make_package(tmp_path: Path) -> Callable[..., Path]:
    """Writes an unpacked package, and returns its directory."""

    def make(files: Mapping[str, bytes], *, name: str = "digits", version: str = "1.0") -> Path:
        target = tmp_path / f"package-{name}-{version}-{len(list(tmp_path.iterdir()))}"
        target.mkdir()
        write_directory(model_name=name, model_version=version, files=dict(files), target=target)
        return target

    return make


@pytest.fixture
def package(make_package: Callable[..., Path], model_bytes: dict[str, bytes]) -> Path:
    """The directory of a package whose model multiplies x of [n, 4] with a matrix."""
    return make_package({"model.onnx": model_bytes["matmul"], "labels.txt": b"a\nb\nc\n"})


@pytest.fixture
def engine_options(tmp_path: Path) -> EngineOptions:
    """ONNX Runtime on the CPU; no native runtimes."""
    return EngineOptions(
        threads=1,
        execution_providers=("CPUExecutionProvider",),
        native_runtimes=NATIVE_NEVER,
        native_root=tmp_path / "native",
    )


@pytest.fixture
def loader(engine_options: EngineOptions) -> Loader:
    """Opens unsigned packages."""
    return Loader(
        LoaderOptions(
            engine=engine_options, root_certs=None, public_keys=(), require_signature=False, package_max_bytes=1 << 20
        )
    )


@dataclasses.dataclass
class S3:
    """The objects of an S3 endpoint of our own, and how it misbehaves."""

    url: str = ""
    objects: dict[str, bytes] = dataclasses.field(default_factory=dict)
    puts: list[str] = dataclasses.field(default_factory=list)
    failing: bool = False
    delay: float = 0.0

    @property
    def environment(self) -> dict[str, str]:
        """What makes boto3 talk to it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def records(self) -> list[dict[str, Any]]:
        """The records of all manifests."""
        manifests = [content for key, content in self.objects.items() if key.endswith(".jsonl")]
        return [json.loads(line) for content in manifests for line in content.splitlines()]


@pytest.fixture
def s3() -> Iterator[S3]:
    """An endpoint that takes PutObject from the real boto3."""
    state = S3()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            bucket, _, key = urllib.parse.unquote(self.path).lstrip("/").partition("/")
            time.sleep(state.delay)
            assert bucket == BUCKET
            if not state.failing:
                state.objects[key] = body
                state.puts.append(key)
            self.send_response(503 if state.failing else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        state.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield state
        server.shutdown()
        thread.join()


class AgentProcess:
    """The real agent in a process of its own, in the working directory of a component."""

    def __init__(self, work: Path, environment: Mapping[str, str], *, transport: str) -> None:
        self.work = work
        self.transport = transport
        self.socket = work / "agent.sock"
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._log = work / "agent.log"

    def start(self, *arguments: str, wait: bool = True, **parameters: object) -> None:
        """Start it with some parameters on top of a fleet and a socket."""
        values = {"DeviceFleetName": FLEET, "UnixSocketName": str(self.socket), "CaptureDataDestination": "Disk"}
        values["Transport"] = self.transport
        config = self.work / "config.json"
        config.write_text(json.dumps({**values, **parameters}))
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "edge_agent", "--config", str(config), *arguments],
                cwd=self.work,
                env={**self._environment},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        if wait:
            with self.client() as client:
                client.wait_until_ready(20)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "start it first"
        return self._process

    def client(self) -> AgentClient:
        return AgentClient(self.socket)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal, and wait for its end."""
        self.process.send_signal(number)
        return self.process.wait(timeout=15)

    def log(self) -> str:
        return self._log.read_text()

    def events(self, name: str) -> list[dict[str, Any]]:
        """Its log's lines of one event."""
        lines = [json.loads(line) for line in self.log().splitlines()]
        return [line for line in lines if line["event"] == name]

    def disk_records(self) -> list[dict[str, Any]]:
        """The records of all manifests below its disk path."""
        manifests = (self.work / "capture").rglob("*.jsonl")
        return [json.loads(line) for path in manifests for line in path.read_bytes().splitlines()]


@contextlib.contextmanager
def _agent(work: Path, environment: Mapping[str, str], transport: str) -> Iterator[AgentProcess]:
    work.mkdir()
    paths = [str(ROOT / "component_src" / name) for name in ("agent", "common")]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    own = {"PYTHONPATH": os.pathsep.join(paths), "AWS_IOT_THING_NAME": DEVICE}
    process = AgentProcess(work, {**inherited, **environment, **own}, transport=transport)
    yield process
    with contextlib.suppress(AssertionError):
        process.process.kill()
        process.process.wait(timeout=10)


@pytest.fixture(scope="module")
def transport(request: pytest.FixtureRequest) -> str:
    """What carries gRPC in the agent; the modules that ask both say so."""
    chosen: str = getattr(request, "param", HTTP2)
    return chosen


@pytest.fixture
def agent(tmp_path: Path, s3: S3, transport: str) -> Iterator[AgentProcess]:
    """An agent that is not started yet; whatever it is doing at the end, it is killed."""
    with _agent(tmp_path / "work", s3.environment, transport) as process:
        yield process


@pytest.fixture(scope="module")
def shared_agent_with(
    tmp_path_factory: pytest.TempPathFactory, transport: str
) -> Iterator[Callable[..., AgentProcess]]:
    """Starts agents for all tests of a module; they capture to disk."""
    with contextlib.ExitStack() as started:

        def start(**parameters: Any) -> AgentProcess:
            process = started.enter_context(_agent(tmp_path_factory.mktemp("shared") / "work", {}, transport))
            process.start(**parameters)
            return process

        yield start


@pytest.fixture(scope="module")
def shared_agent(shared_agent_with: Callable[..., AgentProcess]) -> AgentProcess:
    """One agent for all tests of a module that leave nothing behind but captures."""
    return shared_agent_with(MaxModels="2")


@pytest.fixture
def client(shared_agent: AgentProcess) -> Iterator[AgentClient]:
    """A client of it; what it loads is unloaded behind it."""
    with shared_agent.client() as client:
        yield client
        for model in client.list_models():
            client.unload_model(model.name)
