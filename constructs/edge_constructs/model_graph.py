# SPDX-License-Identifier: Apache-2.0
"""A model held against what its folder says about it, so that synth refuses what a device would refuse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from edge_package.onnx_file import GraphTensor, OnnxError, has_external_data, read_signature

if TYPE_CHECKING:
    from edge_constructs.model_folder import Preprocessing

_CHANNELS = {"L": 1, "RGB": 3}
_DETECTION = (1, 1, 4)  # the last lengths of a detector's outputs


def graph_faults(
    name: str, content: bytes, *, task: str, preprocessing: Preprocessing, labels: Sequence[str]
) -> Iterator[str]:
    """Say where an ONNX model and its description differ.

    Args:
        name: the model's file, for the messages.
        content: its bytes.
        task: what its outputs are for.
        preprocessing: what becomes of an image.
        labels: one for each class.
    """
    try:
        signature = read_signature(content)
        external = has_external_data(content)
    except OnnxError as error:
        yield f"{name}: not a whole ONNX model: {error}; export or copy it again"
        return
    if external:
        yield (
            f"{name}: expected all weights inside the file, got some in another, which the agent refuses; save the "
            "model without external data"
        )
    inputs = {tensor.name: tensor for tensor in signature.inputs}
    listed = ", ".join(map(str, signature.inputs)) or "none"
    if len(inputs) != 1:
        yield f"{name}: expected one input, for the image, got {listed}; export the model with one"
    if preprocessing.input in inputs:
        yield from _input_faults(name, inputs[preprocessing.input], preprocessing)
    else:
        yield (
            f"preprocessing.input: expected an input of {name} ({listed}), got {preprocessing.input!r}; write the "
            "input's name"
        )
    if task == "object-detection":
        yield from _detection_faults(name, signature.outputs)
    else:
        yield from _output_faults(name, signature.outputs, labels)


def preprocessing_faults(preprocessing: Preprocessing) -> Iterator[str]:
    """Say where `[preprocessing]` contradicts itself, as the inference component would."""
    channels = _CHANNELS[preprocessing.channels]
    if len(preprocessing.mean) != channels:
        yield (
            f'preprocessing.mean: channels = "{preprocessing.channels}" expects {channels} number(s), one a channel, '
            f"got {list(preprocessing.mean)}; write one for each"
        )
    if preprocessing.dtype == "uint8" and (preprocessing.scale != 1 or any(preprocessing.mean)):
        yield (
            'preprocessing.dtype: "uint8" expects scale 1 and mean 0, because pixels go on as they are, got scale '
            f'{preprocessing.scale:g} and mean {list(preprocessing.mean)}; write those, or dtype = "float32"'
        )


def _input_faults(name: str, tensor: GraphTensor, preprocessing: Preprocessing) -> Iterator[str]:
    if tensor.element != preprocessing.dtype:
        yield (
            f"preprocessing.dtype: {name} expects {tensor.element} ({tensor}), got {preprocessing.dtype!r}; "
            "write the model's type, or export the model with another"
        )
    plane = (preprocessing.height, preprocessing.width)
    channels = _CHANNELS[preprocessing.channels]
    made = (1, channels, *plane) if preprocessing.layout == "NCHW" else (1, *plane, channels)
    if tensor.shape is not None and not _fits(made, tensor.shape):
        yield (
            f"preprocessing: {name} expects {tensor}, got {list(made)} from layout {preprocessing.layout}, "
            f"channels {preprocessing.channels}, height {plane[0]}, width {plane[1]}; write the model's"
        )


def _output_faults(name: str, outputs: Sequence[GraphTensor], labels: Sequence[str]) -> Iterator[str]:
    if not outputs:
        yield f"{name}: expected an output with a score for each label, got none; export the model with one"
        return
    output = outputs[0]
    if output.shape is None:
        return
    *others, classes = output.shape or (0,)
    if not set(others) <= {1, -1} or classes == 0 or output.element == "no tensor":
        yield f"{name}: expected a first output of [1, classes], got {output}; export the model with scores alone"
    elif classes not in {-1, len(labels)}:
        yield (
            f"labels: {name} expects {classes}, one for each class ({output}), got {len(labels)}; "
            "write one a line, in the order of the output"
        )


def _detection_faults(name: str, outputs: Sequence[GraphTensor]) -> Iterator[str]:
    listed = ", ".join(map(str, outputs)) or "none"
    fits = [_ends(output, length) for output, length in zip(outputs, _DETECTION, strict=False)]
    if len(fits) < len(_DETECTION) or not all(fits):
        yield (
            f"{name}: expected class ids [1, N, 1], scores [1, N, 1] and boxes [1, N, 4] as its first outputs, because "
            f'task = "object-detection", got {listed}; export the detector with them, or correct task'
        )


def _ends(tensor: GraphTensor, length: int) -> bool:
    return tensor.shape is None or (len(tensor.shape) > 0 and tensor.shape[-1] in {-1, length})


def _fits(made: Sequence[int], wanted: Sequence[int]) -> bool:
    return len(made) == len(wanted) and all(length in {-1, ours} for ours, length in zip(made, wanted, strict=True))
