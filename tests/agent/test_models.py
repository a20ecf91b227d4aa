# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_agent import errors, models
from edge_agent.engines import EngineOptions, open_engine
from edge_agent.loader import Loader
from edge_package import MANIFEST_NAME, read_package

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def registry(tmp_path: Path, loader: Loader) -> models.ModelRegistry:
    return models.ModelRegistry(work=tmp_path, max_models=3, max_bytes=1 << 20, loader=loader)


def test_a_model_knows_its_package(registry: models.ModelRegistry, package: Path) -> None:
    model = registry.load(handle="alias", url=str(package))
    assert (model.handle, model.name, model.version) == ("alias", "digits", "1.0")
    assert model.digest == read_package(package).manifest.digest


def _alter(package: Path) -> None:
    (package / "labels.txt").write_bytes(b"a\nb\nX\n")


def _cut(package: Path) -> None:
    (package / "model.onnx").write_bytes((package / "model.onnx").read_bytes()[:-1])


def _remove(package: Path) -> None:
    (package / "labels.txt").unlink()


def _add(package: Path) -> None:
    (package / "extra.txt").write_text("x")


def _link(package: Path) -> None:
    content = (package / "labels.txt").read_bytes()
    (package.parent / "elsewhere").write_bytes(content)
    (package / "labels.txt").unlink()
    (package / "labels.txt").symlink_to(package.parent / "elsewhere")


def _unmanifest(package: Path) -> None:
    (package / MANIFEST_NAME).unlink()


@pytest.mark.parametrize(
    ("tamper", "named"),
    [
        (_alter, "labels.txt"),
        (_cut, "model.onnx"),
        (_remove, "labels.txt"),
        (_add, "extra.txt"),
        (_link, "labels.txt"),
        (_unmanifest, MANIFEST_NAME),
    ],
)
def test_a_tampered_package_is_refused_and_the_file_named(
    registry: models.ModelRegistry, package: Path, tamper: Callable[[Path], None], named: str
) -> None:
    tamper(package)
    with pytest.raises(errors.FailedPreconditionError, match=named):
        registry.load(handle="digits", url=str(package))
    assert registry.list() == []


def test_a_package_needs_one_model(
    registry: models.ModelRegistry, make_package: Callable[..., Path], model_bytes: dict[str, bytes]
) -> None:
    cases = [
        ({"labels.txt": b"a"}, "got none among labels.txt"),
        ({"a.onnx": model_bytes["matmul"], "b.onnx": model_bytes["matmul"]}, "got a.onnx, b.onnx"),
        ({"a.onnx": b"no model at all"}, "a.onnx: expected an ONNX model"),
        ({"a.onnx": model_bytes["boolean"]}, r"tensor 'flag': expected one of .*got tensor\(bool\)"),
    ]
    for files, message in cases:
        with pytest.raises(errors.FailedPreconditionError, match=message):
            registry.load(handle="digits", url=str(make_package(files)))


def test_a_refused_load_frees_its_handle(registry: models.ModelRegistry, package: Path) -> None:
    content = (package / "labels.txt").read_bytes()
    _alter(package)
    with pytest.raises(errors.FailedPreconditionError):
        registry.load(handle="digits", url=str(package))
    (package / "labels.txt").write_bytes(content)
    assert registry.load(handle="digits", url=str(package)).handle == "digits"


def test_of_many_loads_at_once_one_wins(registry: models.ModelRegistry, package: Path) -> None:
    outcomes: list[str] = []

    def load() -> None:
        try:
            registry.load(handle="digits", url=str(package))
            outcomes.append("loaded")
        except errors.AlreadyExistsError:
            outcomes.append("refused")

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["loaded"] + ["refused"] * 7


def test_inputs_that_only_the_model_can_judge_are_refused(
    model_bytes: dict[str, bytes], engine_options: EngineOptions
) -> None:
    session = open_engine({"m.onnx": model_bytes["difference"]}, engine_options, signed=False)
    with pytest.raises(errors.InvalidArgumentError, match="left"):
        session.run({"left": np.zeros(3, np.float32), "right": np.zeros(2, np.float32)})


def test_a_loaded_model_does_not_keep_the_bytes_that_it_was_made_of(
    model_bytes: dict[str, bytes], engine_options: EngineOptions
) -> None:
    content = bytes(bytearray(model_bytes["matmul"]))
    before = sys.getrefcount(content)
    engine = open_engine({"m.onnx": content}, engine_options, signed=False)
    assert engine.run({"x": np.zeros((1, 4), np.float32)})[0].shape == (1, 3)
    assert sys.getrefcount(content) == before  # its weights are in memory once


@pytest.mark.parametrize("url", ["file://[", "file://\u2100/model", "FILE://host/model"])
def test_a_url_that_cannot_be_read_is_the_callers_mistake(registry: models.ModelRegistry, url: str) -> None:
    with pytest.raises(errors.InvalidArgumentError, match="expected a local directory or package file"):
        registry.load(handle="digits", url=url)


def test_a_path_that_looks_like_a_host_is_a_path(registry: models.ModelRegistry) -> None:
    with pytest.raises(errors.NotFoundError, match="digits"):
        registry.load(handle="digits", url="//[nowhere")
