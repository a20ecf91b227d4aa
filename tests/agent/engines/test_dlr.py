# SPDX-License-Identifier: Apache-2.0
"""Neo-compiled packages, with a stand-in for their libdlr.so: no genuine one was available to these tests."""

from __future__ import annotations

import base64
import ctypes
import dataclasses
import shutil
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from awscrt.crypto import EC, ECExportFormat, ECType

from edge_agent.engines import NATIVE_ALWAYS, NATIVE_NEVER, NATIVE_SIGNED, EngineOptions, open_engine
from edge_agent.engines.dlr_library import open_library
from edge_agent.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from edge_contract import agent_pb2
from edge_contract.errors import AgentError
from edge_package import SIGNATURE_NAME, Signature, read_package

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.engines import Engine
    from tests.agent.conftest import AgentProcess

SOURCE = Path(__file__).with_name("stand_in_dlr.c")
X = np.array([[1, 2, 3, 4]], np.float32)


@pytest.fixture(scope="module")
def compile_library(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    """Compiles the stand-in with the system's compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("NOT TESTED: the DLR engine needs a C compiler (cc) for its stand-in library, there is none")

    def make(*options: str) -> bytes:
        target = tmp_path_factory.mktemp("dlr") / "libdlr.so"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", *options, "-o", target, SOURCE], check=True, timeout=60)
        return target.read_bytes()

    return make


@pytest.fixture(scope="module")
def library(compile_library: Callable[..., bytes]) -> bytes:
    return compile_library()


@pytest.fixture
def options(engine_options: EngineOptions) -> EngineOptions:
    return dataclasses.replace(engine_options, native_runtimes=NATIVE_ALWAYS)


def package(library: bytes, addend: bytes = b"10") -> dict[str, bytes]:
    return {"libdlr.so": library, "compiled.params": addend, "compiled.so": b"", "compiled_model.json": b"{}"}


def live_models(library: bytes, options: EngineOptions) -> int:
    count: ctypes.CDLL = open_library(library, options.native_root)._library
    return int(count.StandInLiveModels())


@pytest.fixture
def engine(library: bytes, options: EngineOptions) -> Engine:
    return open_engine(package(library), options, signed=False)


def test_a_model_is_described_and_run(engine: Engine) -> None:
    assert engine.name == "dlr/stand-in"
    (given,), (answered,) = engine.inputs, engine.outputs
    assert (given.name, given.data_type, given.shape) == ("d\N{REPLACEMENT CHARACTER}ta", agent_pb2.FLOAT32, (1, 4))
    assert (answered.name, answered.shape) == ("sum", (-1, -1))  # this backend knows the shape after a run only
    (output,) = engine.run({given.name: X})
    assert output.dtype == np.float32
    np.testing.assert_array_equal(output, X + 10)


def test_two_models_of_one_library_are_apart(library: bytes, options: EngineOptions) -> None:
    one, other = (open_engine(package(library, addend), options, signed=False) for addend in (b"1", b"2"))
    name = one.inputs[0].name
    assert one.run({name: X})[0][0, 0] == 2
    assert other.run({name: X})[0][0, 0] == 3
    one.close()
    assert other.run({name: X})[0][0, 0] == 3
    other.close()


def test_an_early_library_has_outputs_without_names(
    compile_library: Callable[..., bytes], options: EngineOptions
) -> None:
    engine = open_engine(package(compile_library("-DEARLY_VERSION")), options, signed=False)
    assert [spec.name for spec in engine.outputs] == ["output-0"]
    engine.close()


def test_threads_take_turns(engine: Engine) -> None:
    # The stand-in ends the process when two runs meet in one model.
    wrong = []
    name = engine.inputs[0].name

    def predict(value: float) -> None:
        for _ in range(100):
            (output,) = engine.run({name: np.full((1, 4), value, np.float32)})
            if output[0, 0] != value + 10:
                wrong.append(output)

    threads = [threading.Thread(target=predict, args=(float(value),)) for value in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_inputs_that_the_library_refuses_are_the_callers_fault(engine: Engine) -> None:
    with pytest.raises(InvalidArgumentError, match="SetDLRInput: wrong shape"):
        engine.run({engine.inputs[0].name: np.zeros((2, 4), np.float32)})


def test_a_closed_model_is_gone_from_memory_and_disk(library: bytes, options: EngineOptions, engine: Engine) -> None:
    before = live_models(library, options)
    engine.close()
    engine.close()
    assert live_models(library, options) == before - 1
    assert not list(options.native_root.glob("model-*"))
    with pytest.raises(NotFoundError, match="unloaded in the meantime"):
        engine.run({engine.inputs[0].name: X})


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"libdlr.so": b"\x7fELF but not really"}, "libdlr.so: expected the DLR library for this device"),
        ({"compiled.params": b"x"}, "libdlr.so: DLR cannot load the model: CreateDLRModel: compiled.params is damaged"),
        ({"compiled.params": b"-1"}, "expected one of uint8, .* got 'complex64'"),
        ({"model.onnx": b""}, "exactly one .onnx file, or one libdlr.so"),
    ],
)
def test_what_cannot_run_is_refused_by_name(
    library: bytes, options: EngineOptions, files: dict[str, bytes], message: str
) -> None:
    before = live_models(library, options)
    with pytest.raises(FailedPreconditionError, match=message):
        open_engine({**package(library), **files}, options, signed=True)
    assert live_models(library, options) == before
    assert not list(options.native_root.glob("model-*"))


def test_a_library_that_is_no_dlr_is_refused(options: EngineOptions, tmp_path: Path) -> None:
    if (compiler := shutil.which("cc")) is None:
        pytest.skip("NOT TESTED: needs a C compiler (cc), there is none")
    (tmp_path / "other.c").write_text("int unrelated;\n")
    target = tmp_path / "libother.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", target, tmp_path / "other.c"], check=True, timeout=60)
    with pytest.raises(FailedPreconditionError, match="CreateDLRModel"):
        open_engine(package(target.read_bytes()), options, signed=False)


@pytest.mark.parametrize(
    ("allowed", "signed", "loads"),
    [
        (NATIVE_NEVER, True, False),
        (NATIVE_SIGNED, False, False),
        (NATIVE_SIGNED, True, True),
        (NATIVE_ALWAYS, False, True),
    ],
)
def test_native_code_runs_only_where_it_may(
    library: bytes, engine_options: EngineOptions, *, allowed: str, signed: bool, loads: bool
) -> None:
    options = dataclasses.replace(engine_options, native_runtimes=allowed)
    if loads:
        open_engine(package(library), options, signed=signed).close()
        return
    with pytest.raises(FailedPreconditionError, match=f"NativeRuntimes is {allowed}"):
        open_engine(package(library), options, signed=signed)
    assert not options.native_root.exists()  # nothing of it was even written


def test_what_the_agent_wrote_is_for_itself_alone(engine: Engine, options: EngineOptions) -> None:
    assert engine.name
    assert options.native_root.stat().st_mode & 0o077 == 0
    assert all(folder.stat().st_mode & 0o077 == 0 for folder in options.native_root.glob("model-*"))


def test_a_signed_package_runs_in_the_real_agent(
    library: bytes, agent: AgentProcess, make_package: Callable[..., Path]
) -> None:
    directory = make_package(package(library, b"0.5"), name="neo")
    roots = agent.work / "roots"
    roots.mkdir()
    key = EC.new_generate(ECType.P_256)
    body = base64.b64encode(key.export_key(ECExportFormat.SPKI)).decode()
    (roots / "key.pem").write_text(f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
    (roots / "key.pem").chmod(0o400)
    agent.start(RootCertsPath="roots")
    with agent.client() as client:
        with pytest.raises(AgentError, match="NativeRuntimes is Signed"):
            client.load_model(str(directory), "neo")
        digest = read_package(directory).manifest.digest
        signature = Signature(key_id="k", manifest_sha256=digest, value=key.sign(bytes.fromhex(digest)))
        (directory / SIGNATURE_NAME).write_bytes(signature.document())
        (given,) = client.load_model(str(directory), "neo").inputs
        np.testing.assert_array_equal(client.predict("neo", {given.name: X})["sum"], X + 0.5)
        client.unload_model("neo")
    (event,) = agent.events("model_loaded")
    assert (event["engine"], event["signed_by"]) == ("dlr/stand-in", "key.pem")
    assert not list((agent.work / "native").glob("model-*"))
