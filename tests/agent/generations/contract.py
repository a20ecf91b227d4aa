# SPDX-License-Identifier: Apache-2.0
"""The messages of each generation of SageMaker Edge Manager's agent, from the documentation (specification §4.3).

Nothing here is taken from our ``agent.proto``, and nothing imports protobuf.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Message -> field -> number and kind; a star stands for repeated. A kind is a scalar's, an enum's or a message's name.
Declaration = dict[str, dict[str, tuple[int, str]]]

ENUMS = {
    "DataType": ("UINT8", "INT16", "INT32", "INT64", "FLOAT16", "FLOAT32", "FLOAT64"),
    "Encoding": ("CSV", "JSON", "NONE", "BASE64"),
    "CaptureDataStatus": ("FAILURE", "SUCCESS", "IN_PROGRESS", "NOT_FOUND"),
}
#: Fields of which a message has one at most.
ONEOF = ("byte_data", "shared_memory_handle")

_COMMON: Declaration = {
    "SharedMemoryHandle": {"size": (1, "uint64"), "offset": (2, "uint64"), "segment_id": (3, "uint64")},
    "TensorMetadata": {"name": (1, "bytes"), "data_type": (2, "DataType"), "shape*": (3, "int32")},
    "Tensor": {
        "tensor_metadata": (1, "TensorMetadata"),
        "byte_data": (4, "bytes"),
        "shared_memory_handle": (5, "SharedMemoryHandle"),
    },
    "Timestamp": {"seconds": (1, "int64"), "nanos": (2, "int32")},
    "Model": {
        "url": (1, "string"),
        "name": (2, "string"),
        "input_tensor_metadatas*": (3, "TensorMetadata"),
        "output_tensor_metadatas*": (4, "TensorMetadata"),
    },
    "PredictRequest": {"name": (1, "string"), "tensors*": (2, "Tensor")},
    "PredictResponse": {"tensors*": (1, "Tensor")},
    "LoadModelRequest": {"url": (1, "string"), "name": (2, "string")},
    "LoadModelResponse": {"model": (1, "Model")},
    "UnLoadModelRequest": {"name": (1, "string")},
    "UnLoadModelResponse": {},
    "ListModelsRequest": {},
    "ListModelsResponse": {"models*": (1, "Model")},
    "DescribeModelRequest": {"name": (1, "string")},
    "DescribeModelResponse": {"model": (1, "Model")},
    "CaptureDataResponse": {},
    "GetCaptureDataStatusRequest": {"capture_id": (1, "string")},
    "GetCaptureDataStatusResponse": {"status": (1, "CaptureDataStatus")},
}
_HANDLES = {
    "Model": 5,
    "PredictRequest": 3,
    "LoadModelRequest": 3,
    "UnLoadModelRequest": 2,
    "DescribeModelRequest": 2,
}


@dataclass(frozen=True)
class Generation:
    """What tells one generation from another.

    Attributes:
        names: The kind of a tensor's name.
        auxiliary: The name of the message of auxiliary data; the earlier ones misspell it.
        handles: Whether a model is addressed by ``handle``.
        by_hand: No stubs: bytes are written and read by hand.
    """

    names: str
    auxiliary: str
    handles: bool
    by_hand: bool = False

    @property
    def messages(self) -> Declaration:
        messages = {name: dict(fields) for name, fields in _COMMON.items()}
        messages["TensorMetadata"]["name"] = (1, self.names)
        messages[self.auxiliary] = {
            "name": (1, "string"),
            "encoding": (2, "Encoding"),
            "byte_data": (3, "bytes"),
            "shared_memory_handle": (4, "SharedMemoryHandle"),
        }
        messages["CaptureDataRequest"] = {
            "model_name": (1, "string"),
            "capture_id": (2, "string"),
            "inference_timestamp": (3, "Timestamp"),
            "input_tensors*": (4, "Tensor"),
            "output_tensors*": (5, "Tensor"),
            "inputs*": (6, self.auxiliary),
            "outputs*": (7, self.auxiliary),
        }
        if self.handles:
            for message, number in _HANDLES.items():
                messages[message]["handle"] = (number, "string")
            messages["CaptureDataRequest"]["model_handle"] = (8, "string")
        return messages

    def model_field(self, rpc: str) -> str:
        """The field of a request that says which model is meant."""
        prefix = "model_" if rpc == "CaptureData" else ""
        return prefix + ("handle" if self.handles else "name")


GENERATIONS = {
    "2021-03": Generation(names="string", auxiliary="AuxilaryData", handles=False),
    "2021-08": Generation(names="bytes", auxiliary="AuxilaryData", handles=False),
    "2022-08": Generation(names="bytes", auxiliary="AuxiliaryData", handles=True),
    "by-hand": Generation(names="bytes", auxiliary="AuxiliaryData", handles=True, by_hand=True),
}
