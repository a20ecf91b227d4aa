# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edge_agent.engines import EngineOptions, open_engine
from edge_agent.errors import FailedPreconditionError
from edge_package.onnx_file import OnnxError, has_external_data

WEIGHTS = np.ones((4, 3), np.float32)


OPTIONS = EngineOptions(
    threads=1,
    execution_providers=("CPUExecutionProvider",),
    native_runtimes="Never",
    native_root=Path("/nonexistent"),
)


def weights(*, external: bool) -> Any:
    tensor = numpy_helper.from_array(WEIGHTS, "w")
    if external:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", "weights.bin"
    return tensor


def multiply(*, external: bool) -> Any:
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    return helper.make_graph([node], "multiply", inputs, outputs, [weights(external=external)])


def in_a_branch(*, external: bool) -> Any:
    result = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 3])]
    constant = helper.make_node("Constant", [], ["y"], value=weights(external=external))
    branch = helper.make_graph([constant], "branch", [], result)
    node = helper.make_node("If", ["condition"], ["y"], then_branch=branch, else_branch=branch)
    return helper.make_graph([node], "if", [helper.make_tensor_value_info("condition", TensorProto.BOOL, [])], result)


def model_of(graph: Any) -> bytes:
    content: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()
    return content


@pytest.mark.parametrize("graph", [multiply, in_a_branch])
def test_weights_in_another_file_are_found_wherever_they_are_used(graph: Any) -> None:
    assert has_external_data(model_of(graph(external=True)))
    assert not has_external_data(model_of(graph(external=False)))


def test_weights_in_the_working_directory_are_never_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # ONNX Runtime alone would: it takes them from there without a question.
    (tmp_path / "weights.bin").write_bytes(WEIGHTS.tobytes())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FailedPreconditionError, match=r"model\.onnx: expected all weights inside the file"):
        open_engine({"model.onnx": model_of(multiply(external=True))}, OPTIONS, signed=False)


@given(st.data())
def test_a_cut_model_never_loads(data: st.DataObject) -> None:
    content = model_of(multiply(external=False))
    cut = content[: data.draw(st.integers(0, len(content) - 1))]
    with pytest.raises(FailedPreconditionError):
        open_engine({"model.onnx": cut}, OPTIONS, signed=False)


def _within(tag: bytes, content: bytes) -> bytes:
    return tag + bytes([len(content) & 0x7F | 0x80, len(content) >> 7]) + content


@pytest.mark.parametrize(
    "location", [b"\x01", b"\x81\x00", b"\x81\x80\x80\x80\x10", b"\x81\x80\x80\x80\xf0\xff\xff\xff\x7f"]
)
def test_external_is_what_protobuf_takes_for_it_however_it_is_written(location: bytes) -> None:
    tensor = weights(external=True)
    tensor.ClearField("data_location")
    content = _within(b"\x3a", _within(b"\x2a", tensor.SerializeToString() + b"\x70" + location))
    assert ModelProto.FromString(content).graph.initializer[0].data_location == TensorProto.EXTERNAL
    assert has_external_data(content)
    with pytest.raises(FailedPreconditionError, match="all weights inside the file"):
        open_engine({"model.onnx": content}, OPTIONS, signed=False)


def test_a_field_number_that_readers_cut_differently_is_refused() -> None:
    content = _within(b"\x3a", _within(b"\x2a", b"\xf0\x80\x80\x80\x10\x01"))
    with pytest.raises(OnnxError, match="field's number"):
        has_external_data(content)
