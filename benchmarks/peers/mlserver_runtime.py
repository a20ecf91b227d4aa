# SPDX-License-Identifier: Apache-2.0
"""An ONNX Runtime model for MLServer; predictions run in threads, so that two clients have two cores."""

from __future__ import annotations

import asyncio
import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxModel(MLModel):  # type: ignore[misc] # published without types here
    """One ONNX file."""

    async def load(self) -> bool:
        """Load the file of the model's settings with one thread."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = self.settings.parameters.uri
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Run the model."""
        array = NumpyCodec.decode_input(payload.inputs[0])
        feeds = {payload.inputs[0].name: array}
        (output, *_) = await asyncio.to_thread(self.session.run, None, feeds)
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("y", output)])
