# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from awscrt.crypto import EC, ECExportFormat, ECType
from onnx import helper, numpy_helper

from edge_model.cli import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A copy of models/digits with fewer held-out images, which the accuracy in its model.toml is of."""
    folder = tmp_path / "digits"
    shutil.copytree(
        ROOT / "models" / "digits", folder, ignore=shutil.ignore_patterns("held_out", "*.py", "__pycache__")
    )
    (folder / "held_out").mkdir()
    for path in sorted((ROOT / "models" / "digits" / "held_out").iterdir())[:40]:
        shutil.copy(path, folder / "held_out")
    text = (folder / "model.toml").read_text(encoding="utf-8")
    text = text.replace("images = 360", "images = 40").replace("accuracy = 0.9778", "accuracy = 0.975")
    (folder / "model.toml").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def edge_model(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line: exit code, output, errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def key_pair(tmp_path: Path) -> Callable[[str], tuple[Path, Path]]:
    """Makes a private and a public key in PEM files."""

    def make(name: str, kind: ECType = ECType.P_256) -> tuple[Path, Path]:
        key = EC.new_generate(kind)
        paths = tmp_path / f"{name}.pem", tmp_path / f"{name}.pub"
        for path, label, form in zip(
            paths,
            ("EC PRIVATE KEY", "PUBLIC KEY"),
            (ECExportFormat.SEC1, ECExportFormat.SPKI),
            strict=True,
        ):
            path.write_text(_pem(label, key.export_key(form)), encoding="ascii")
        return paths

    return make


def _pem(label: str, data: bytes) -> str:
    return f"-----BEGIN {label}-----\n{base64.encodebytes(data).decode()}-----END {label}-----\n"


@pytest.fixture
def tiny() -> Callable[..., bytes]:
    """Makes a model: image [1, 1, 8, 8] to scores [1, 3], by one matrix."""

    def make(*, opset: int = 17, ir: int = 8, operator: str = "Gemm", domain: str = "", shape: object = None) -> bytes:
        weights = numpy_helper.from_array(np.ones((64, 3), np.float32), "weights")
        nodes = [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("Identity", ["flat"], ["same"]),
            helper.make_node(operator, ["same", "weights"], ["scores"], name="last", domain=domain),
        ]
        graph = helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, shape or [1, 1, 8, 8])],
            [helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, [1, 3])],
            initializer=[weights],
        )
        opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
        content: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=ir).SerializeToString()
        return content

    return make
