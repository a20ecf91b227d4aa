# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import os
import threading

import numpy as np
import pytest

from edge_agent.engines import EngineOptions, open_engine
from edge_agent.errors import FailedPreconditionError, NotFoundError

X = np.ones((1, 4), np.float32)


def test_a_provider_that_this_build_lacks_is_refused_by_name(
    engine_options: EngineOptions, model_bytes: dict[str, bytes]
) -> None:
    options = dataclasses.replace(engine_options, execution_providers=("QNNExecutionProvider", "CPUExecutionProvider"))
    with pytest.raises(FailedPreconditionError, match=r"CPUExecutionProvider, which this ONNX .* got QNNExecution"):
        open_engine({"m.onnx": model_bytes["matmul"]}, options, signed=False)


def test_telemetry_is_off_before_the_runtime_is_imported(
    engine_options: EngineOptions, model_bytes: dict[str, bytes]
) -> None:
    open_engine({"m.onnx": model_bytes["matmul"]}, engine_options, signed=False)
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


def test_a_model_closed_under_its_users_ends_cleanly(
    engine_options: EngineOptions, model_bytes: dict[str, bytes]
) -> None:
    engine = open_engine({"m.onnx": model_bytes["matmul"]}, engine_options, signed=False)
    ends: list[str] = []
    begun = threading.Barrier(5)

    def predict() -> None:
        begun.wait()
        try:
            while True:
                assert engine.run({"x": X})[0].shape == (1, 3)
        except NotFoundError as error:
            ends.append(str(error))

    threads = [threading.Thread(target=predict) for _ in range(4)]
    for thread in threads:
        thread.start()
    begun.wait()
    engine.close()
    for thread in threads:
        thread.join()
    assert len(ends) == 4
    assert "unloaded in the meantime" in ends[0]
