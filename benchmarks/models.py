# SPDX-License-Identifier: Apache-2.0
"""The models that are measured: from two microseconds' worth of copying to six megabytes of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Sequence

_LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
_OPSET = 17


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model and the one input that it is measured with.

    Attributes:
        name: Also its handle.
        what: One line for the report.
        content: The ONNX file.
        input_name: The input's name.
        dtype: NumPy's name of its type.
        shape: Its dimensions.
        iterations: Predictions in one round, so that a round of each model takes about as long.
    """

    name: str
    what: str
    content: bytes
    input_name: str
    dtype: str
    shape: tuple[int, ...]
    iterations: int

    @property
    def megabytes(self) -> float:
        """The input's size."""
        return float(np.prod(self.shape)) * np.dtype(self.dtype).itemsize / 1e6


def subjects(*, quick: bool) -> list[Subject]:
    """Make the models; resnet50 is left out of a quick run."""
    found = [
        Subject("tiny", "autoencoder of two convolutions", _autoencoder(), "x", "float32", (1, 6, 20, 20), 300),
        Subject("squeezenet", "SqueezeNet 1.0", _light("squeezenet"), "data_0", "float32", (1, 3, 224, 224), 12),
        Subject("frame", "mean of a 1080p frame of bytes", _frame(), "x", "uint8", (1, 1080, 1920, 3), 20),
    ]
    if not quick:
        resnet = Subject("resnet50", "ResNet-50", _light("resnet50"), "gpu_0/data_0", "float32", (1, 3, 224, 224), 3)
        found.append(resnet)
    return found


def _light(name: str) -> bytes:
    """A real architecture with constant weights, as the onnx package carries them for its own tests."""
    return (_LIGHT / f"light_{name}.onnx").read_bytes()


def _autoencoder() -> bytes:
    generator = np.random.default_rng(0)

    def weights(name: str, *shape: int) -> Any:
        return numpy_helper.from_array(generator.normal(0, 0.1, shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("ConvTranspose", ["b", "w2"], ["y"], strides=[2, 2]),
    ]
    initial = [weights("w1", 12, 6, 3, 3), weights("w2", 12, 6, 2, 2)]
    return _model(nodes, ("x", TensorProto.FLOAT, [1, 6, 20, 20]), ("y", [1, 6, 20, 20]), initial)


def _frame() -> bytes:
    nodes = [
        helper.make_node("Cast", ["x"], ["a"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["a"], ["y"], axes=[1, 2], keepdims=0),
    ]
    return _model(nodes, ("x", TensorProto.UINT8, [1, 1080, 1920, 3]), ("y", [1, 3]), [])


def _model(
    nodes: Sequence[Any], given: tuple[str, int, list[int]], result: tuple[str, list[int]], initial: Sequence[Any]
) -> bytes:
    graph = helper.make_graph(
        list(nodes),
        "benchmark",
        [helper.make_tensor_value_info(*given)],
        [helper.make_tensor_value_info(result[0], TensorProto.FLOAT, result[1])],
        list(initial),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content
