# SPDX-License-Identifier: Apache-2.0
"""The same model and images in ONNX Runtime, in this process: what the whole way through the device is held against."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime


def classify(model: Path, images: list[Path]) -> Mapping[str, str]:
    """Label each image.

    Args:
        model: a folder of `models/`.
        images: grey 8-bit images of the model's size.

    Returns:
        File name to label.
    """
    description = tomllib.loads((model / "model.toml").read_text(encoding="utf-8"))
    labels = (model / description["labels"]).read_text(encoding="utf-8").splitlines()
    preprocessing = description["preprocessing"]
    session = onnxruntime.InferenceSession(model / "model.onnx")
    results = {}
    for path in images:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert(preprocessing["channels"]), dtype=np.float32)
        tensor = ((pixels - np.float32(preprocessing["mean"][0])) * np.float32(preprocessing["scale"]))[None, None]
        (scores,) = session.run(["probabilities"], {preprocessing["input"]: tensor})
        results[path.name] = labels[int(np.argmax(scores[0]))]
    return results
