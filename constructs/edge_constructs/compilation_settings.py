# SPDX-License-Identifier: Apache-2.0
"""What an environment says about compiling its models with SageMaker Neo (specification §1.9)."""

from __future__ import annotations

import json
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, TypeAdapter, model_validator
from pydantic.dataclasses import dataclass

from edge_constructs.framework_layout import LAYOUTS
from edge_constructs.handler_kernel import content_id
from edge_constructs.job_rules import FRAMEWORK_VERSION

_settings = dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))

Framework = Literal["TENSORFLOW", "KERAS", "MXNET", "ONNX", "PYTORCH", "XGBOOST", "TFLITE", "DARKNET", "SKLEARN"]
# fmt: off
TargetDevice = Literal[
    "lambda", "ml_m4", "ml_m5", "ml_m6g", "ml_c4", "ml_c5", "ml_c6g", "ml_p2", "ml_p3", "ml_g4dn", "ml_inf1",
    "ml_inf2", "ml_trn1", "ml_eia2", "jetson_tx1", "jetson_tx2", "jetson_nano", "jetson_xavier", "rasp3b", "rasp4b",
    "imx8qm", "deeplens", "rk3399", "rk3288", "aisage", "sbe_c", "qcs605", "qcs603", "sitara_am57x", "amba_cv2",
    "amba_cv22", "amba_cv25", "x86_win32", "x86_win64", "coreml", "jacinto_tda4vm", "imx8mplus",
]
# fmt: on
_VERSIONED = ("MXNET", "PYTORCH", "TENSORFLOW", "TFLITE")
_NEURON = ("ml_inf1", "ml_inf2", "ml_trn1")  # whose options are a command line, as a JSON string
_NVIDIA_OPTIONS = ("gpu-code", "trt-ver", "cuda-ver")


@_settings
class TargetPlatform:
    """What the model is compiled for, where no device of SageMaker's list fits."""

    os: Literal["ANDROID", "LINUX"]
    arch: Literal["X86_64", "X86", "ARM64", "ARM_EABI", "ARM_EABIHF"]
    accelerator: Literal["INTEL_GRAPHICS", "MALI", "NVIDIA", "NNA"] | None = None


@_settings
class CompilationSettings:
    """A compilation: what comes in, and what it is made for.

    `data_input_config` is JSON: an object of input name to shape (NCHW for ONNX, PyTorch, MXNet, Keras and Darknet,
    NHWC for TensorFlow and TFLite), a list of shapes for PyTorch, nothing for XGBoost; without it, it is what the
    model's folder says of its input. `compiler_options` is a JSON object, or for AWS Inferentia a JSON string.
    """

    framework: Framework = "ONNX"
    framework_version: Annotated[str, Field(pattern=rf"^{FRAMEWORK_VERSION}$")] | None = None
    data_input_config: Annotated[str, Field(min_length=1, max_length=16384)] | None = None
    target_device: TargetDevice | None = None
    target_platform: TargetPlatform | None = None
    compiler_options: Annotated[str, Field(min_length=3, max_length=1024)] | None = None
    # CloudFormation waits an hour for a resource at the most, and the job queues and stops within it as well.
    max_runtime_seconds: Annotated[int, Field(ge=60, le=1800)] = 900

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.target_device is None) == (self.target_platform is None):
            raise ValueError("either target_device or target_platform is expected, not both and not none")
        if self.framework not in LAYOUTS:
            raise ValueError(
                f"framework: one of {', '.join(LAYOUTS)} is expected, got {self.framework}, of which AWS documents no "
                "layout: export the model to ONNX"
            )
        if self.framework_version is not None and self.framework not in _VERSIONED:
            raise ValueError(
                f"framework_version: none is expected for {self.framework}, as Neo takes one for "
                f"{', '.join(_VERSIONED)} only, got {self.framework_version}: remove it"
            )
        if self.data_input_config is not None and self.framework == "XGBOOST":
            raise ValueError("data_input_config: none is expected for XGBOOST")
        if self.data_input_config is not None:
            _check_shapes(self.data_input_config, lists=self.framework == "PYTORCH")
        self._check_options()
        return self

    def _check_options(self) -> None:
        text = self.compiler_options
        options = {} if text is None else _json("compiler_options", text)
        if not isinstance(options, dict) and not (isinstance(options, str) and self.target_device in _NEURON):
            raise ValueError(
                'compiler_options: a JSON object is expected, such as {"mattr": ["+neon"]} (a JSON string for '
                f"{', '.join(_NEURON)} only), got {text!r:.200}: write one, or remove it"
            )
        nvidia = self.target_platform is not None and self.target_platform.accelerator == "NVIDIA"
        if nvidia and isinstance(options, dict) and not options.keys() >= set(_NVIDIA_OPTIONS):
            raise ValueError(
                f"compiler_options: a JSON object with {', '.join(_NVIDIA_OPTIONS)} is expected, as "
                f"target_platform.accelerator is NVIDIA, got {text!r:.200}: write what the device has, such as "
                '{"gpu-code": "sm_72", "trt-ver": "6.0.1", "cuda-ver": "10.1"}'
            )

    @property
    def name(self) -> str:
        """Target and a hash of all that a compiled model depends on: the same for every model."""
        depends = TypeAdapter(CompilationSettings).dump_python(self, exclude={"max_runtime_seconds"})
        return content_id(self.target.lower(), depends)

    @property
    def target(self) -> str:
        """The target in a word: Neo puts it into the name of its output."""
        if self.target_platform is None:
            return str(self.target_device)
        platform = self.target_platform
        return "_".join(part for part in (platform.os, platform.arch, platform.accelerator) if part)


def _check_shapes(text: str, *, lists: bool) -> None:
    value = _json("data_input_config", text)
    shapes = list(value.values()) if isinstance(value, dict) else value if lists and isinstance(value, list) else []
    # A bool is an int to isinstance.
    right = all(isinstance(s, list) and s and all(type(n) is int and n > 0 for n in s) for s in shapes)
    if not shapes or not right:
        raise ValueError(
            'data_input_config: a JSON object of input names to shapes is expected, such as {"input": [1, 3, 224, 224]}'
            f"; got {text!r:.200}"
        )


def _json(name: str, text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{name}: JSON is expected: {error}; got {text!r:.200}") from error
