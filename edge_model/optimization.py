# SPDX-License-Identifier: Apache-2.0
"""A model made smaller and quicker at authoring time, and measured before and after."""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from onnxruntime.quantization import QuantType, quantize_dynamic

from edge_constructs.model_folder import ModelFolder
from edge_inference.preprocessing import Preprocessing
from edge_model.errors import ModelCommandError
from edge_model.evaluation import Measured, evaluate, image_files, sample_input
from edge_model.runtime import DeviceRuntime

_ROUNDS = 300  # of both models in turn, so that what else the machine does hits both
_WARM_UP = 20
_DIGITS = 4  # of a share in model.toml


@dataclass(frozen=True)
class Figures:
    """What is known of one form of a model: bytes, milliseconds of a prediction with one thread, accuracy."""

    size: int
    latency_ms: float
    measured: Measured


@dataclass(frozen=True)
class Outcome:
    """A model before and after.

    Attributes:
        content: the optimised ONNX file.
        steps: what was done, by earlier runs too.
        before: figures of the model as it was before the first run.
        after: figures of `content`.
        reason_to_leave: why `content` is not worth being written; blank: it is.
    """

    content: bytes
    steps: tuple[str, ...]
    before: Figures
    after: Figures
    reason_to_leave: str = ""


def model_file(model: ModelFolder) -> Path:
    """The ONNX file of a model folder.

    Raises:
        ModelCommandError: it is a compiled model.
    """
    name = next((name for name in model.files if name.endswith(".onnx")), None)
    if name is None:
        raise ModelCommandError(
            f"{model.folder}: expected a model.onnx among files, got {', '.join(model.files)}; a model compiled for a "
            "device is optimised by its compiler"
        )
    return model.folder / name


def preprocessing_of(model: ModelFolder) -> Preprocessing:
    """`[preprocessing]` as the inference components read it."""
    return Preprocessing.parse(vars(model.preprocessing))


def checked(name: str, content: bytes) -> onnx.ModelProto:
    """Parse a model, and hold it against ONNX's rules and a device's runtime; its shapes are inferred.

    Raises:
        ModelCommandError: every fault, one a line.
    """
    try:
        model = onnx.load_from_string(content)
        onnx.checker.check_model(model, full_check=True)
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    # The checker and the parser raise errors without a base of their own, among them protobuf's.
    except Exception as error:
        first = str(error).strip().partition("\n")[0]
        raise ModelCommandError(
            f"{name}: expected a model that keeps ONNX's rules: {first}; export it again"
        ) from error
    if faults := list(DeviceRuntime.oldest().faults(name, model)):
        raise ModelCommandError("\n".join(faults))
    return inferred


def optimize(
    model: ModelFolder, *, int8: bool, largest_loss: float, rounds: int = _ROUNDS, earlier: float | None = None
) -> Outcome:
    """Optimise a model folder's model, and measure it before and after on its held-out images.

    What `[optimization]` and `earlier` say of the model before an earlier run stands for the model before: many runs
    together may lose no more than one.

    Args:
        model: the folder.
        earlier: the mean average precision before an earlier run, as model.toml tells it.
        int8: whether the weights become 8-bit integers too.
        largest_loss: how much accuracy, as a share of the images, may be lost.
        rounds: how often each form predicts for the latency.

    Raises:
        ModelCommandError: the model breaks a rule, before or after, or more accuracy is lost than may be.
    """
    path = model_file(model)
    before = path.read_bytes()
    checked(path.name, before)
    # Only what every runtime and processor understands: the rest is done by the device's own, when it loads the model.
    after = _graph_optimized(before)
    steps = ["graph"]
    if int8:
        after = _quantized(after)
        steps.append("int8")
    checked(f"{path.name}, optimised", after)
    accuracies = [measure(model, content) for content in (before, after)]
    original = _original(model, accuracies[0], earlier)
    latencies = _latencies(model, (before, after), rounds)
    figures = [
        Figures(size=len(content), latency_ms=latency, measured=measured)
        for content, latency, measured in zip((before, after), latencies, accuracies, strict=True)
    ]
    for what, was, is_now in _shares(original, accuracies[1]):
        # Shares of model.toml are rounded, which must not refuse a model that is as good as it was.
        if round(was - is_now, _DIGITS) > largest_loss:
            raise ModelCommandError(
                f"{path.name}: expected to lose {largest_loss:g} of {what} at the most on {original.images} "
                f"held-out images, got {was:.4f} before and {is_now:.4f} after; leave out "
                f"{'--int8' if int8 else 'the optimisation'}, or allow more: --max-accuracy-loss"
            )
    reason = "the model's bytes stay the same" if before == after else _reason_to_leave(*figures)
    told, first = model.optimization, replace(figures[0], measured=original)
    if told is not None:
        steps = [*told.steps, *(step for step in steps if step not in told.steps)]
        first = replace(first, size=told.size_before, latency_ms=told.latency_before_ms)
    return Outcome(content=after, steps=tuple(steps), before=first, after=figures[1], reason_to_leave=reason)


def _original(model: ModelFolder, now: Measured, earlier: float | None) -> Measured:
    """What was measured before the first run: what model.toml says of it, or else `now`."""
    if model.optimization is None:
        return now
    precision = now.mean_average_precision if earlier is None else earlier
    return replace(now, accuracy=model.optimization.accuracy_before, mean_average_precision=precision)


def _reason_to_leave(before: Figures, after: Figures) -> str:
    if after.size >= before.size and after.latency_ms >= before.latency_ms:
        return "neither size nor latency is better than the folder's model has"
    return ""


def _shares(before: Measured, after: Measured) -> Iterator[tuple[str, float, float]]:
    yield "accuracy", before.accuracy, after.accuracy
    if before.mean_average_precision is not None and after.mean_average_precision is not None:
        yield "mean average precision", before.mean_average_precision, after.mean_average_precision


def measure(model: ModelFolder, content: bytes) -> Measured:
    """Evaluate a form of a folder's model on the folder's held-out images."""
    images = model.folder / model.evaluation.data
    return evaluate(model.task, content, images, preprocessing=preprocessing_of(model), labels=model.label_list)


def _graph_optimized(content: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "model.onnx")
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(target)
        onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return _cleaned(onnx.load(target), onnx.load_from_string(content))


def _quantized(content: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "model.onnx")
        logging.getLogger().addFilter(_is_important)  # the quantiser gives advice by warnings of the root logger
        try:
            # Unsigned weights: ONNX Runtime's convolution of integers takes no others on every processor.
            quantize_dynamic(onnx.load_from_string(content), target, weight_type=QuantType.QUInt8)
        finally:
            logging.getLogger().removeFilter(_is_important)
        return _cleaned(onnx.load(target), onnx.load_from_string(content))


def _is_important(record: logging.LogRecord) -> bool:
    return record.levelno > logging.WARNING


def _cleaned(model: onnx.ModelProto, source: onnx.ModelProto) -> bytes:
    """The model without what tools leave behind: operator sets that no node uses, their names and versions."""
    used = {node.domain for node in model.graph.node} | {item.domain for item in source.opset_import}
    kept = [item for item in model.opset_import if item.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    model.ir_version = source.ir_version
    model.producer_name, model.producer_version = source.producer_name, source.producer_version
    del model.graph.value_info[:]
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _latencies(model: ModelFolder, contents: Sequence[bytes], rounds: int) -> list[float]:
    """Median milliseconds of each, measured in turn."""
    image = image_files(model.folder / model.evaluation.data)[0]
    inputs = {model.preprocessing.input: sample_input(model.task, image, preprocessing_of(model))}
    runs = [_runner(content, inputs) for content in contents]
    times: list[list[float]] = [[] for _ in contents]
    for number in range(_WARM_UP + rounds):
        for run, taken in zip(runs, times, strict=True):
            started = time.perf_counter()
            run()
            if number >= _WARM_UP:
                taken.append((time.perf_counter() - started) * 1000)
    return [statistics.median(taken) for taken in times]


def _runner(content: bytes, inputs: dict[str, Any]) -> Callable[[], Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, inputs)
