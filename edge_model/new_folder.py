# SPDX-License-Identifier: Apache-2.0
"""A model folder begun from an ONNX file: what the file says is written down, what it cannot say is asked for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from edge_constructs.model_folder import load_model_folder
from edge_model.errors import ModelCommandError
from edge_package import PackageError, make_manifest
from edge_package.onnx_file import GraphTensor, OnnxError, Signature, has_external_data, read_signature

_CHANNELS = {1: "L", 3: "RGB"}
_IMAGE_DIMENSIONS = 4
_SIDE = 224  # where a model takes images of any size
_TYPES = ("float32", "uint8")

_MODEL_TOML = """\
# SPDX-License-Identifier: Apache-2.0
name = {name}
version = "1.0"
description = {description}
task = "{task}"
files = ["model.onnx", "labels.txt"] # what the package holds
labels = "labels.txt" # one a line, in the order of the model's output

[preprocessing] # value of the input tensor = (pixel - mean) * scale, pixels being 0 to 255
input = {input}
layout = "{layout}"
width = {width}
height = {height}
channels = "{channels}"
scale = {scale}
mean = {mean}
dtype = "{dtype}"

[evaluation] # of images that the model was not trained on; edge-model validate measures it again
data = "held_out" # {data}
images = 0
accuracy = 0.0
"""


def create(source: Path, folder: Path) -> list[str]:
    """Make a model folder.

    Args:
        source: the ONNX file.
        folder: the new folder; its name becomes the model's.

    Returns:
        What is left to be filled in, one sentence each.

    Raises:
        ModelCommandError: the folder exists, or the file is no model that the inference components can use.
        ModelFolderError: the same, as only the whole folder shows.
    """
    name = folder.resolve().name
    if folder.exists():
        raise ModelCommandError(f"{folder}: expected no such folder yet, found one; name another, or remove it")
    content, signature = _read_model(source)
    try:
        make_manifest(model_name=name, model_version="1.0", files={"model.onnx": b""})
    except PackageError as error:
        raise ModelCommandError(f"{folder}: {error}; give the folder such a name") from error
    image = _image_input(source, signature)
    layout, channels, height, width = _read_shape(source, image)
    task, classes = _read_outputs(source, signature)
    labels = [f"class {index}" for index in range(max(classes, 1))]
    text = _MODEL_TOML.format(
        name=json.dumps(name),
        description=json.dumps(f"{source.stem}: {image.element} model, to be described"),
        task=task,
        input=json.dumps(image.name),
        layout=layout,
        width=width if width > 0 else _SIDE,
        height=height if height > 0 else _SIDE,
        channels=channels,
        scale="1.0" if image.element == "uint8" else repr(1 / 255),
        mean=json.dumps([0.0] * len(channels)),
        dtype=image.element,
        data="<anything>-<label>.png" if task == "image-classification" else "images, and boxes.json: what is where",
    )
    folder.mkdir(parents=True)
    try:
        (folder / "model.onnx").write_bytes(content)
        (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
        (folder / "model.toml").write_text(text, encoding="utf-8")
        load_model_folder(folder)
    except BaseException:
        shutil.rmtree(folder)  # or the next try would be told that the folder exists
        raise
    todo = [
        f"labels.txt: {len(labels)} label(s), one a line, in the order of the model's output"
        + ("" if classes > 0 else "; the model does not say how many classes it has"),
        "preprocessing.scale and mean: as in training (a tensor's value = (pixel - mean) * scale)",
        "description, and the licence in the first line",
        "held_out/ and [evaluation]: images that the model was not trained on, then: edge-model validate",
    ]
    if width < 0 or height < 0:
        todo.insert(0, f"preprocessing.width and height: the model takes any ({image}); write what it was trained with")
    return todo


def _read_model(source: Path) -> tuple[bytes, Signature]:
    try:
        content = source.read_bytes()
        signature = read_signature(content)
        external = has_external_data(content)
    except (OSError, OnnxError) as error:
        raise ModelCommandError(f"{source}: expected an ONNX model: {error}; export or copy it again") from error
    if external:
        raise ModelCommandError(
            f"{source}: expected all weights inside the file, got some in another; save it without external data"
        )
    return content, signature


def _image_input(source: Path, signature: Signature) -> GraphTensor:
    listed = ", ".join(map(str, signature.inputs)) or "none"
    if len(signature.inputs) != 1 or len(signature.inputs[0].shape or ()) != _IMAGE_DIMENSIONS:
        raise ModelCommandError(
            f"{source}: expected one input with four dimensions, an image [N, C, H, W] or [N, H, W, C], got {listed}; "
            "export the model with one"
        )
    if signature.inputs[0].element not in _TYPES:
        raise ModelCommandError(
            f"{source}: expected an input of {' or '.join(_TYPES)}, got {listed}; export the model with one"
        )
    return signature.inputs[0]


def _read_shape(source: Path, image: GraphTensor) -> tuple[str, str, int, int]:
    """Layout, channels, height and width; a length of any is below 0."""
    _, second, third, last = image.shape or ()
    if second in _CHANNELS:
        return "NCHW", _CHANNELS[second], third, last
    if last in _CHANNELS:
        return "NHWC", _CHANNELS[last], second, third
    raise ModelCommandError(
        f"{source}: expected 1 or 3 channels, second or last of four dimensions, got {image}; export the model so"
    )


def _read_outputs(source: Path, signature: Signature) -> tuple[str, int]:
    """The task, and how many classes there are; -1: the model does not say."""
    widths = [tensor.shape[-1] if tensor.shape else -1 for tensor in signature.outputs]
    if len(widths) > 2 and widths[2] == 4 and widths[:2] == [1, 1]:  # noqa: PLR2004 -- ids, scores, boxes
        return "object-detection", -1
    if not widths:
        raise ModelCommandError(f"{source}: expected an output with scores, got none; export the model with one")
    return "image-classification", widths[0]
