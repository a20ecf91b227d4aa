# SPDX-License-Identifier: Apache-2.0
"""LitServe around ONNX Runtime: python litserve_server.py PORT MODELS.json (name: path).

LitServe reads the annotations of ``decode_request`` as they are, so they must not be strings here.
"""

import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import litserve
import numpy as np
import onnxruntime

_DTYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}


class Models(litserve.LitAPI):  # type: ignore[misc] # published without types here
    """All models in each worker."""

    def setup(self, device: str) -> None:  # noqa: ARG002 # its signature
        """Load the models with one thread each."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        paths = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
        self.sessions = {
            name: onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            for name, path in paths.items()
        }

    def decode_request(self, request: dict[str, Any]) -> tuple[str, Any]:
        """Read the tensor."""
        node = self.sessions[request["model"]].get_inputs()[0]
        data = np.frombuffer(base64.b64decode(request["data"]), _DTYPES[node.type])
        return request["model"], data.reshape(request["shape"])

    def predict(self, given: tuple[str, Any]) -> Any:
        """Run the model."""
        session = self.sessions[given[0]]
        return session.run(None, {session.get_inputs()[0].name: given[1]})[0]

    def encode_response(self, output: Any) -> dict[str, Any]:
        """Write the tensor."""
        return {"shape": output.shape, "data": base64.b64encode(output.tobytes()).decode()}


if __name__ == "__main__":
    server = litserve.LitServer(Models(), accelerator="cpu", workers_per_device=2, timeout=60)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
