# SPDX-License-Identifier: Apache-2.0
"""One client in a process of its own: it predicts when it is told to, and reports how long that took.

Runs in the environment of whatever it talks to, so it needs NumPy and that library alone. Commands and answers are
lines of JSON on its standard input and output.
"""

from __future__ import annotations

import base64
import concurrent.futures
import http.client
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Predict = Callable[[Array], Array]
_LONGEST_ROUND_SECONDS = 1.0
_LEAST_ITERATIONS = 2


def in_process(spec: dict[str, Any]) -> Predict:
    """ONNX Runtime in this process, with the agent's options."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    runtime = importlib.import_module("onnxruntime")
    runtime.set_default_logger_severity(3)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = runtime.InferenceSession(spec["path"], options, providers=["CPUExecutionProvider"])
    return lambda array: np.asarray(session.run(None, {spec["input"]: array})[0])


def agent(spec: dict[str, Any]) -> Predict:
    """The agent, through the client that inference components use."""
    contract = importlib.import_module("edge_contract.client")
    client = contract.AgentClient(spec["address"], shared_memory=spec["shared_memory"], timeout=60.0)

    def predict(array: Array) -> Array:
        outputs: dict[str, Array] = client.predict(spec["model"], {spec["input"]: array})
        return next(iter(outputs.values()))

    return predict


def mlserver(spec: dict[str, Any]) -> Predict:
    """MLServer over gRPC with raw contents, its quickest way."""
    grpc = importlib.import_module("grpc")
    messages = importlib.import_module("mlserver.grpc.dataplane_pb2")
    stubs = importlib.import_module("mlserver.grpc.dataplane_pb2_grpc")
    unbounded = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    stub = stubs.GRPCInferenceServiceStub(grpc.insecure_channel(spec["address"], options=unbounded))
    kind = {"float32": "FP32", "uint8": "UINT8"}[spec["dtype"]]

    def predict(array: Array) -> Array:
        given = messages.ModelInferRequest.InferInputTensor(name=spec["input"], datatype=kind, shape=array.shape)
        answer = stub.ModelInfer(
            messages.ModelInferRequest(model_name=spec["model"], inputs=[given], raw_input_contents=[array.tobytes()])
        )
        output = answer.outputs[0]
        return np.frombuffer(answer.raw_output_contents[0], np.float32).reshape(tuple(output.shape))

    return predict


def litserve(spec: dict[str, Any]) -> Predict:
    """LitServe over HTTP with JSON, as its clients do."""
    host, port = spec["address"].split(":")
    connection = http.client.HTTPConnection(host, int(port))

    def post(body: str, *, again: bool = True) -> http.client.HTTPResponse:
        try:
            connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
            return connection.getresponse()
        except (OSError, http.client.HTTPException):
            connection.close()  # the server ends connections that were idle for some seconds
            if not again:
                raise
            return post(body, again=False)

    def predict(array: Array) -> Array:
        body = {"model": spec["model"], "shape": array.shape, "data": base64.b64encode(array.tobytes()).decode()}
        response = post(json.dumps(body))
        answer = json.loads(response.read())
        if response.status != http.HTTPStatus.OK:
            raise RuntimeError(f"LitServe: expected 200, got {response.status}: {answer}")
        return np.frombuffer(base64.b64decode(answer["data"]), np.float32).reshape(tuple(answer["shape"]))

    return predict


TRANSPORTS = {"in_process": in_process, "agent": agent, "mlserver": mlserver, "litserve": litserve}


def latencies(predict: Predict, array: Array, iterations: int) -> list[int]:
    """Nanoseconds of each prediction, one after the other; fewer than asked for when they take too long."""
    found: list[int] = []
    end = time.perf_counter() + _LONGEST_ROUND_SECONDS
    while len(found) < iterations and (len(found) < _LEAST_ITERATIONS or time.perf_counter() < end):
        started = time.perf_counter_ns()
        predict(array)
        found.append(time.perf_counter_ns() - started)
    return found


def throughput(predict: Predict, array: Array, seconds: float, clients: int) -> float:
    """Predictions a second of so many threads."""
    started = time.perf_counter()

    def run() -> int:
        count = 0
        while not count or time.perf_counter() - started < seconds:
            predict(array)
            count += 1
        return count

    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        counts = [future.result() for future in [pool.submit(run) for _ in range(clients)]]
    return sum(counts) / (time.perf_counter() - started)


def main() -> None:
    """Serve the commands on standard input until it ends."""
    spec = json.loads(sys.argv[1])
    generator = np.random.default_rng(0)
    array: Array = (generator.random(spec["shape"]) * 255).astype(spec["dtype"])
    predict = TRANSPORTS[spec["transport"]](spec)
    for line in sys.stdin:
        try:
            answer = _obey(json.loads(line), predict, array)
        except Exception as error:  # noqa: BLE001 # whoever asked decides what it means
            answer = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
        print(json.dumps(answer), flush=True)  # noqa: T201 # the answer is the output


def _obey(command: dict[str, Any], predict: Predict, array: Array) -> Any:
    if command["do"] == "latencies":
        return latencies(predict, array, command["iterations"])
    if command["do"] == "throughput":
        return throughput(predict, array, command["seconds"], command["clients"])
    if command["do"] == "result":  # to be compared with the others'
        return [float(number) for number in predict(array).ravel()[:32]]
    return "here"


if __name__ == "__main__":
    main()
