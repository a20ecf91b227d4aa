# SPDX-License-Identifier: Apache-2.0
"""Model folders: real ones, and what is wrong with bad ones, from the smallest ONNX models that show it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_constructs.model_folder import ModelFolderError, load_model_folder

ROOT = Path(__file__).parents[2]
DESCRIPTION = """
name = "test"
version = "1.0"
description = "A model of this test"
files = ["model.onnx", "labels.txt"]
labels = "labels.txt"

[preprocessing]
input = "image"
layout = "NCHW"
width = 4
height = 2
channels = "RGB"
scale = 1.0
mean = [0.0, 0.0, 0.0]
dtype = "float32"

[evaluation]
data = "held_out"
images = 1
accuracy = 1.0
"""
IMAGE = (TensorProto.FLOAT, ["n", 3, 2, 4])
SCORES = (TensorProto.FLOAT, ["n", 3])

Tensor = tuple[int, Any]  # element type and shape


def model(*, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor], external: bool = False) -> bytes:
    weights = numpy_helper.from_array(np.zeros(3, np.float32), "weights")
    if external:
        weights.ClearField("raw_data")
        weights.data_location = TensorProto.EXTERNAL
        entry = weights.external_data.add()
        entry.key, entry.value = "location", "weights.bin"
    node = helper.make_node("Identity", ["weights"], ["unused"])
    graph = helper.make_graph(
        [node],
        "test",
        [helper.make_tensor_value_info(name, *value) for name, value in inputs.items()],
        [helper.make_tensor_value_info(name, *value) for name, value in outputs.items()],
        [weights],
    )
    content: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()
    return content


GOOD = model(inputs={"image": IMAGE}, outputs={"scores": SCORES, "more": (TensorProto.FLOAT, None)})

Make = Callable[..., Path]


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Make:
    def make(*, content: bytes = GOOD, labels: bytes = b"a\nb\nc\n", replaced: dict[str, str] | None = None) -> Path:
        text = DESCRIPTION
        for old, new in (replaced or {}).items():
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "test"
        path.mkdir()
        (path / "model.toml").write_text(text)
        (path / "model.onnx").write_bytes(content)
        (path / "labels.txt").write_bytes(labels)
        return path

    return make


@pytest.mark.parametrize("path", sorted((ROOT / "models").glob("*/model.toml")), ids=lambda path: path.parent.name)
def test_every_model_of_the_project_is_right(path: Path) -> None:
    assert load_model_folder(path.parent).manifest.digest


@pytest.mark.parametrize(
    ("inputs", "outputs", "replaced"),
    [
        ({"image": IMAGE}, {"y": SCORES}, {}),
        ({"image": (TensorProto.FLOAT, [1, 3, 2, 4])}, {"y": (TensorProto.FLOAT, [3])}, {}),
        ({"image": (TensorProto.FLOAT, None)}, {"y": (TensorProto.FLOAT, None)}, {}),
        ({"image": (TensorProto.FLOAT, ["n", 3, "h", "w"])}, {"y": (TensorProto.FLOAT, ["n", "classes"])}, {}),
        ({"image": (TensorProto.FLOAT, [1, 2, 4, 3])}, {"y": SCORES}, {"NCHW": "NHWC"}),
        (
            {"image": (TensorProto.UINT8, [1, 1, 2, 4])},
            {"y": SCORES},
            {"float32": "uint8", '"RGB"': '"L"', "[0.0, 0.0, 0.0]": "[0.0]"},
        ),
    ],
)
def test_what_fits_is_taken(folder: Make, inputs: Any, outputs: Any, replaced: dict[str, str]) -> None:
    found = load_model_folder(folder(content=model(inputs=inputs, outputs=outputs), replaced=replaced))
    assert "model.onnx" in found.files


def test_a_compiled_model_is_left_to_the_device(folder: Make) -> None:
    path = folder(replaced={'"model.onnx"': '"compiled.so"'})
    (path / "compiled.so").write_bytes(b"\x7fELF")
    assert load_model_folder(path).files == ("compiled.so", "labels.txt")


def test_without_a_folder_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match=r"nowhere/model\.toml: expected a file that describes the model"):
        load_model_folder(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"replaced": {"scale = 1.0": "scale = [1"}}, "a TOML file"),
        ({"replaced": {"scale = 1.0\n": ""}}, "preprocessing.scale: expected, but missing"),
        ({"replaced": {"scale = 1.0": "sclae = 1.0\nscale = 1.0"}}, "preprocessing.sclae: no such key"),
        ({"replaced": {"width = 4": "width = 0"}}, "preprocessing.width: .*got 0"),
        ({"replaced": {'version = "1.0"': 'version = "1-0"'}}, "model version must be"),
        ({"replaced": {'labels = "labels.txt"': 'labels = "names.txt"'}}, r"names\.txt: expected in the folder"),
        ({"replaced": {"[0.0, 0.0, 0.0]": "[0.0]"}}, r'mean: channels = "RGB" expects 3 .*got \[0\.0\]'),
        ({"replaced": {'"float32"': '"uint8"', "scale = 1.0": "scale = 2.0"}}, "expects scale 1 and mean 0.*scale 2"),
        ({"replaced": {'"model.onnx", ': ""}}, r"exactly one \.onnx file, got none"),
        ({"labels": b"a\n\xff\n"}, r"expected labels in UTF-8, got b'\\xff'"),
        ({"labels": b""}, "expects 3, one for each class.*got 0"),
        ({"content": b""}, "not a whole ONNX model: .* 0 bytes"),
        ({"content": b"just a text, no model"}, "not a whole ONNX model"),
        ({"content": GOOD[:-1]}, "not a whole ONNX model"),
        ({"content": model(inputs={"image": IMAGE}, outputs={"y": SCORES}, external=True)}, "expected all weights"),
        ({"content": model(inputs={}, outputs={"y": SCORES})}, "expected one input, for the image, got none"),
        (
            {"content": model(inputs={"image": IMAGE, "mask": IMAGE}, outputs={"y": SCORES})},
            "expected one input, for the image, got image: .*mask: ",
        ),
        ({"content": model(inputs={"image": IMAGE}, outputs={})}, "expected an output"),
        (
            {"content": model(inputs={"image": IMAGE}, outputs={"y": (TensorProto.FLOAT, ["n", 7, 3])})},
            r"expected a first output of \[1, classes\], got y: float32 \[\?, 7, 3\]",
        ),
        (
            {"content": model(inputs={"image": IMAGE}, outputs={"y": (TensorProto.FLOAT, [])})},
            "expected a first output",
        ),
        ({"content": model(inputs={"image": (TensorProto.FLOAT, [8])}, outputs={"y": SCORES})}, r"got \[1, 3, 2, 4\]"),
    ],
)
def test_what_does_not_fit_is_said(folder: Make, change: Any, message: str) -> None:
    path = folder(**change)
    with pytest.raises(ModelFolderError, match=message) as refused:
        assert load_model_folder(path).manifest.digest
    assert str(path / "model.toml") in str(refused.value)


def test_every_fault_is_listed(folder: Make) -> None:
    path = folder(labels=b"a\n", replaced={"NCHW": "NHWC", "float32": "uint8"})
    with pytest.raises(ModelFolderError) as refused:
        load_model_folder(path)
    assert [line.split(": ")[1] for line in str(refused.value).splitlines()] == [
        "preprocessing.dtype",
        "preprocessing",
        "labels",
    ]


mark = pytest.mark.refusal


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(
            {"content": b""},
            ("model.onnx", "expected a model with a graph", "got 0 bytes", "export or copy it again"),
            marks=mark("Model folder", "the model is empty"),
        ),
        pytest.param(
            {"content": GOOD[: len(GOOD) // 2]},
            ("model.onnx", "expected", "the file is cut", "copy it again"),
            marks=mark("Model folder", "the model is cut"),
        ),
        pytest.param(
            {"content": b"<html>not found</html>"},
            ("model.onnx", "expected", "got", "export or copy it again"),
            marks=mark("Model folder", "the model is no ONNX file"),
        ),
        pytest.param(
            {"content": model(inputs={"image": IMAGE}, outputs={"y": SCORES}, external=True)},
            ("model.onnx", "expected all weights inside the file", "got some in another", "without external data"),
            marks=mark("Model folder", "weights in another file"),
        ),
        pytest.param(
            {"labels": b"a\nb\n"},
            ("labels", "expects 3", "got 2", "write one a line"),
            marks=mark("Model folder", "fewer labels than classes"),
        ),
        pytest.param(
            {"replaced": {'input = "image"': 'input = "data"'}},
            ("preprocessing.input", "expected an input of model.onnx", "got 'data'", "write the input's name"),
            marks=mark("Model folder", "preprocessing for an input that is not there"),
        ),
        pytest.param(
            {"replaced": {"width = 4": "width = 8"}},
            ("preprocessing", "expects image: float32 [?, 3, 2, 4]", "got [1, 3, 2, 8]", "write the model's"),
            marks=mark("Model folder", "preprocessing of another shape"),
        ),
        pytest.param(
            {"replaced": {'dtype = "float32"': 'dtype = "uint8"'}},
            ("preprocessing.dtype", "expects float32", "got 'uint8'", "write the model's type"),
            marks=mark("Model folder", "preprocessing of another type"),
        ),
        pytest.param(
            {"replaced": {'"model.onnx", ': '"model.onnx", "more.bin", '}},
            ("more.bin", "expected in the folder", "got none", "add it, or remove the name"),
            marks=mark("Model folder", "a file that is named, but not there"),
        ),
    ],
)
def test_refusals(folder: Make, refusal: Callable[..., None], change: Any, says: tuple[str, str, str, str]) -> None:
    with pytest.raises(ModelFolderError) as refused:
        load_model_folder(folder(**change))
    refusal(str(refused.value), says)


@pytest.mark.refusal("Model folder", "no model.toml")
def test_a_folder_without_description_is_refused(folder: Make, refusal: Callable[..., None]) -> None:
    path = folder()
    (path / "model.toml").unlink()
    with pytest.raises(ModelFolderError) as refused:
        load_model_folder(path)
    refusal(
        str(refused.value),
        ("model.toml", "expected a file that describes the model", "got none", "write one as models/digits has it"),
    )
