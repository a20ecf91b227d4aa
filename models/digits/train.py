# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: INP001 - a folder of models holds data, it is no package
"""Train the digits model again and write everything that stands beside this file.

Run it from the root of the repository: `python -m models.digits.train`. It needs the development requirements.

The data are scikit-learn's 1797 scans of hand-written digits, 8x8 pixels of 0 to 16. A pixel is stored as 15 times its
value, so a PNG holds the data exactly; training and evaluation take their input through the component's own
preprocessing, so what is measured here is what a device does.
"""

from __future__ import annotations

import logging
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from PIL import Image
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from skl2onnx.helpers.onnx_helper import select_model_inputs_outputs
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from edge_image_classification.preprocessing import load_image
from edge_inference.preprocessing import Preprocessing, to_tensor

SEED = 0
HELD_OUT = 360
PIXEL_STEP = 15  # 16 levels * 15 = 240, within 8 bits
IR_VERSION = 8  # this and the opset are read by onnxruntime 1.19, the last one for Python 3.9
OPSET = 17
_SMALLEST_WEIGHT = 1e-10
_LOG = logging.getLogger(__name__)

_PREPROCESSING: dict[str, Any] = {
    "input": "image",
    "layout": "NCHW",
    "width": 8,
    "height": 8,
    "channels": "L",
    "scale": 1 / 240,
    "mean": [0.0],
    "dtype": "float32",
}

_MODEL_TOML = """\
# SPDX-License-Identifier: Apache-2.0
# Written by train.py.
name = "digits"
version = "1.0"
description = "Hand-written digits, 8x8 grey pixels: a multi-layer perceptron on scikit-learn's digits data"
files = ["model.onnx", "labels.txt"] # what the package holds
labels = "labels.txt" # one a line, in the order of the model's output

[preprocessing] # value of the input tensor = (pixel - mean) * scale, pixels being 0 to 255
input = "image"
layout = "NCHW"
width = 8
height = 8
channels = "L"
scale = {scale!r} # 1 / 240: a pixel is 15 times the data's 0 to 16
mean = [0.0]
dtype = "float32"

[evaluation] # measured by train.py: image file, component's preprocessing, ONNX Runtime
data = "held_out" # <number>-<label>.png, none of them seen in training
images = {images}
accuracy = {accuracy}
"""


def held_out_split() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[Any], npt.NDArray[Any]]:
    """Split the data, stratified by label.

    Returns:
        uint8 [N, 8, 8] pixels for training, the same for evaluation, then the labels of both, int64 [N].
    """
    digits = load_digits()
    pixels = (digits.images * PIXEL_STEP).astype(np.uint8)
    train, held_out, train_labels, held_out_labels = train_test_split(
        pixels, digits.target, test_size=HELD_OUT, random_state=SEED, stratify=digits.target
    )
    return train, held_out, train_labels, held_out_labels


def fit(pixels: npt.NDArray[np.uint8], labels: npt.NDArray[Any], preprocessing: Preprocessing) -> onnx.ModelProto:
    """Train, and export as ONNX.

    Args:
        pixels: uint8 [N, 8, 8].
        labels: int64 [N].
        preprocessing: the same that a device applies.

    Returns:
        `image` float32 [N, 1, 8, 8] to `probabilities` float32 [N, 10].
    """
    inputs = np.concatenate([to_tensor(image[..., np.newaxis], preprocessing) for image in pixels])
    classifier = MLPClassifier((100,), alpha=0.1, max_iter=1000, random_state=SEED)
    classifier.fit(inputs.reshape(len(inputs), -1), labels)
    # Weight decay leaves pixels that are always white with weights around 1e-42: arithmetic on such numbers is slow.
    classifier.coefs_ = [np.where(np.abs(weights) < _SMALLEST_WEIGHT, 0, weights) for weights in classifier.coefs_]
    exported = to_onnx(
        classifier,
        initial_types=[("flat", FloatTensorType([None, 64]))],
        options={"zipmap": False},
        target_opset=OPSET,
        model_optim=True,
    )
    return _with_image_input(select_model_inputs_outputs(exported, "probabilities"), preprocessing)


def _with_image_input(model: onnx.ModelProto, preprocessing: Preprocessing) -> onnx.ModelProto:
    used = {name for node in model.graph.node for name in node.input}
    shape = ["N", 1, preprocessing.height, preprocessing.width]
    float32 = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Flatten", [preprocessing.input], ["flat"], name="flatten", axis=1), *model.graph.node],
        "digits",
        [onnx.helper.make_tensor_value_info(preprocessing.input, float32, shape)],
        [onnx.helper.make_tensor_value_info("probabilities", float32, ["N", 10])],
        initializer=[tensor for tensor in model.graph.initializer if tensor.name in used],
    )
    # Nothing of the tools' versions goes into the file: they change, the model does not.
    image_model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="edge-manager"
    )
    onnx.checker.check_model(image_model, full_check=True)
    return image_model


def evaluate(model: Path, images: Path, preprocessing: Preprocessing) -> tuple[int, float]:
    """Run the files through the model as a device does.

    Returns:
        How many images there are, and the share whose label is right.
    """
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    paths = sorted(images.glob("*.png"))
    right = 0
    for path in paths:
        (probabilities,) = session.run(["probabilities"], {preprocessing.input: load_image(path, preprocessing)})
        right += int(np.argmax(probabilities[0])) == int(path.stem.rpartition("-")[2])
    return len(paths), right / len(paths)


def write(directory: Path) -> float:
    """Train and write model.onnx, labels.txt, held_out/ and model.toml.

    Returns:
        The accuracy over the held-out images.
    """
    preprocessing = Preprocessing.parse(_PREPROCESSING)
    train, held_out, train_labels, held_out_labels = held_out_split()
    model = fit(train, train_labels, preprocessing)
    (directory / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    (directory / "labels.txt").write_text("".join(f"{digit}\n" for digit in range(10)), encoding="utf-8")

    images = directory / "held_out"
    shutil.rmtree(images, ignore_errors=True)
    images.mkdir()
    for number, (pixels, label) in enumerate(zip(held_out, held_out_labels, strict=True)):
        Image.fromarray(pixels).save(images / f"{number:04d}-{label}.png", optimize=True)

    count, accuracy = evaluate(directory / "model.onnx", images, preprocessing)
    toml = _MODEL_TOML.format(scale=preprocessing.scale, images=count, accuracy=round(accuracy, 4))
    if tomllib.loads(toml)["preprocessing"] != _PREPROCESSING:
        raise ValueError("model.toml would not say how the model was trained")
    (directory / "model.toml").write_text(toml, encoding="utf-8")
    return accuracy


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    _LOG.info("accuracy over %d held-out images: %.4f", HELD_OUT, write(Path(__file__).parent))
