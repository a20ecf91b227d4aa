# SPDX-License-Identifier: Apache-2.0
"""What the agent refuses, said by its process: in its log when it cannot start, over gRPC when it runs."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge_contract.client import AgentError

if TYPE_CHECKING:
    from pathlib import Path

    AgentProcess = Any  # the class stands in conftest.py, which tests cannot import

Refusal = Callable[..., None]


def refused(agent: AgentProcess) -> str:
    assert agent.process.wait(20) == 1
    message: str = agent.events("agent_refused")[-1]["error"]
    return message


@pytest.mark.refusal("Agent", "a second agent on the same socket")
def test_a_second_agent_on_the_socket(agent: AgentProcess, refusal: Refusal) -> None:
    agent.start()
    first = agent.process
    agent.start(wait=False)
    message = refused(agent)
    first.terminate()
    assert first.wait(15) == 0
    refusal(
        message,
        ("UnixSocketName", "expected it free", f"process {first.pid}", "stop that one first"),
        hide={f"process {first.pid}": "process …"},
    )


@pytest.mark.refusal("Agent", "a second agent on the same spool")
def test_a_second_agent_on_the_spool(agent: AgentProcess, refusal: Refusal) -> None:
    agent.start()
    first = agent.process
    agent.start("--socket", str(agent.work / "other.sock"), wait=False)
    message = refused(agent)
    first.terminate()
    assert first.wait(15) == 0
    refusal(
        message,
        ("LocalDataRootPath", "expected it free", f"process {first.pid}", "stop that one first"),
        hide={f"process {first.pid}": "process …"},
    )


@pytest.mark.refusal("Agent", "another file at the socket's path")
def test_another_file_at_the_path(agent: AgentProcess, refusal: Refusal) -> None:
    agent.socket.write_text("precious")
    agent.start(wait=False)
    message = refused(agent)
    refusal(message, ("UnixSocketName", "to be free or an old socket", "another kind of file", "expected"))


@pytest.mark.refusal("Agent", "a socket path over 107 bytes")
def test_a_long_path(agent: AgentProcess, refusal: Refusal) -> None:
    agent.start(wait=False, UnixSocketName="/tmp/" + "x" * 110)  # noqa: S108 -- never made
    message = refused(agent)
    refusal(message, ("UnixSocketName", "expected at most 107 bytes", "got 115", "shorten"))


@pytest.mark.refusal("Agent", "a parameter of the wrong type")
def test_a_wrong_parameter(agent: AgentProcess, refusal: Refusal) -> None:
    agent.start(wait=False, CaptureDataBatchSize="ten")
    message = refused(agent)
    refusal(message, ("CaptureDataBatchSize", "expected a whole number", "got 'ten'", "whole number"))


@pytest.mark.refusal("Agent", "a spool that cannot be written")
def test_a_read_only_spool(agent: AgentProcess, refusal: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = agent.work / "data"
    spool.mkdir()
    spool.chmod(0o555)
    if os.geteuid() == 0:
        # Root writes everywhere: the agent runs as root without that right, as a container's is.
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("setpriv is needed to take root's right to write everywhere away")
        launch = agent.work / "python"
        launch.write_text(f'#!/bin/sh\nexec {setpriv} --bounding-set=-dac_override {sys.executable} "$@"\n')
        launch.chmod(0o755)
        monkeypatch.setattr("sys.executable", str(launch))
    agent.start(wait=False, LocalDataRootPath=str(spool))
    refusal(refused(agent), ("LocalDataRootPath", "expected a place", "Permission denied", "name another place"))


@pytest.mark.refusal("Package", "no manifest")
def test_a_package_without_manifest(agent: AgentProcess, refusal: Refusal, tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "model.onnx").write_bytes(b"x")
    refusal(
        _load(agent, package),
        (
            "…/package".replace("…", str(tmp_path)),
            "sagemaker_edge_manifest",
            "among ['model.onnx']",
            "package the model",
        ),
    )


@pytest.mark.refusal("Package", "a file was changed")
def test_a_changed_file(agent: AgentProcess, refusal: Refusal, package: Path) -> None:
    path = package / "labels.txt"
    path.write_bytes(b"a\nb\nX\n")
    refusal(_load(agent, package), ("labels.txt", "expected 6 bytes with SHA-256", "found 6 bytes", "deploy"))


@pytest.mark.refusal("Package", "a model that is cut")
def test_a_cut_model(agent: AgentProcess, refusal: Refusal, make_package: Any, model_bytes: dict[str, bytes]) -> None:
    package = make_package({"model.onnx": model_bytes["matmul"][:-20]})
    refusal(_load(agent, package), ("model.onnx", "expected an ONNX model", "the file is cut", "expected"))


@pytest.mark.refusal("Prediction", "a tensor of another shape")
def test_another_shape(agent: AgentProcess, refusal: Refusal, package: Path) -> None:
    agent.start()
    with agent.client() as client:
        client.load_model(str(package), "digits")
        with pytest.raises(AgentError) as caught:
            client.predict("digits", {"x": np.zeros((1, 5), np.float32)})
    refusal(str(caught.value), ("x", "expected", "5", "4"))


def _load(agent: AgentProcess, package: Path) -> str:
    agent.start()
    with agent.client() as client, pytest.raises(AgentError) as caught:
        client.load_model(str(package), "digits")
    return str(caught.value)
