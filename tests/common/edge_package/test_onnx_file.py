# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edge_package.onnx_file import GraphTensor, OnnxError, has_external_data, read_signature

WEIGHTS = np.ones((4, 3), np.float32)
LIGHT = sorted((Path(onnx.__file__).parent / "backend/test/data/light").glob("*.onnx"))


def model(*, inputs: list[Any], outputs: list[Any], **options: Any) -> bytes:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "multiply", inputs, outputs, [numpy_helper.from_array(WEIGHTS, "w")])
    content: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, **options
    ).SerializeToString()
    return content


def tensor(name: str, element: int, shape: list[int | str | None] | None) -> Any:
    return helper.make_tensor_value_info(name, element, shape)


def test_inputs_and_outputs_are_read_and_weights_left_out() -> None:
    content = model(
        inputs=[
            tensor("x", TensorProto.FLOAT, ["n", 4]),
            tensor("w", TensorProto.FLOAT, [4, 3]),
            tensor("scalar", TensorProto.INT64, []),
            tensor("free", TensorProto.UINT8, None),
            tensor("some", TensorProto.FLOAT16, [None, 0, 2]),
        ],
        outputs=[tensor("y", TensorProto.FLOAT, ["n", 3])],
    )
    signature = read_signature(content)
    assert [str(item) for item in signature.inputs] == [
        "x: float32 [?, 4]",
        "scalar: int64 []",
        "free: uint8 [...]",
        "some: float16 [?, 0, 2]",
    ]
    assert signature.outputs == (GraphTensor("y", "float32", (-1, 3)),)


def test_what_is_no_tensor_is_said() -> None:
    value = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [1]))
    content = model(inputs=[helper.make_value_info("list", value)], outputs=[])
    assert read_signature(content).inputs == (GraphTensor("list", "no tensor", None),)


@pytest.mark.parametrize("path", LIGHT, ids=lambda path: path.stem)
def test_real_models_are_read_as_onnx_reads_them(path: Path) -> None:
    content = path.read_bytes()
    graph = onnx.load_from_string(content).graph
    weights = {item.name for item in graph.initializer}
    signature = read_signature(content)
    for found, wanted in (
        (signature.inputs, [item for item in graph.input if item.name not in weights]),
        (signature.outputs, list(graph.output)),
    ):
        assert [item.name for item in found] == [item.name for item in wanted]
        for item, info in zip(found, wanted, strict=True):
            kind = info.type.tensor_type
            assert item.element == np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)).name
            shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in kind.shape.dim)
            assert item.shape == (shape if kind.HasField("shape") else None)
    assert not has_external_data(content)


def test_there_are_real_models() -> None:
    assert LIGHT


@given(st.data())
def test_a_cut_model_is_refused(data: st.DataObject) -> None:
    content = model(inputs=[tensor("x", TensorProto.FLOAT, [1, 4])], outputs=[tensor("y", TensorProto.FLOAT, [1, 3])])
    cut = content[: data.draw(st.integers(0, len(content) - 1))]
    with pytest.raises(OnnxError, match="expected"):
        read_signature(cut)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    for read in (read_signature, has_external_data):
        try:
            read(content)
        except OnnxError as error:
            assert "expected" in str(error)  # noqa: PT017 # either way is right
