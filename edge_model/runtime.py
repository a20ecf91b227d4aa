# SPDX-License-Identifier: Apache-2.0
"""What the ONNX Runtime of a device can run: the oldest one that the agent's lock names sets the limit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx.helper import VERSION_TABLE

from edge_model.errors import ModelCommandError

LOCK = Path(__file__).parents[1] / "component_src" / "agent" / "requirements.txt"
# ONNX Runtime -> the ONNX release whose format and operators it knows, from its own table of compatibility.
_ONNX_OF = {
    (1, 17): "1.15.0",
    (1, 18): "1.16.0",
    (1, 19): "1.16.0",
    (1, 20): "1.16.0",
    (1, 21): "1.17.0",
    (1, 22): "1.18.0",
}
_PINNED = re.compile(r"^onnxruntime==(\d+)\.(\d+)\.(\d+)", re.MULTILINE)
_STANDARD = {"", "ai.onnx"}


@dataclass(frozen=True)
class DeviceRuntime:
    """The limits of a device's ONNX Runtime.

    Attributes:
        version: of ONNX Runtime.
        ir: newest version of the file format.
        opset: newest set of standard operators.
        ml_opset: newest set of the operators of ai.onnx.ml.
    """

    version: str
    ir: int
    opset: int
    ml_opset: int

    @classmethod
    def oldest(cls, lock: Path = LOCK) -> DeviceRuntime:
        """The oldest that a device may have.

        Raises:
            ModelCommandError: the lock names none, or one that is not known here.
        """
        pinned = sorted(tuple(map(int, found)) for found in _PINNED.findall(lock.read_text(encoding="utf-8")))
        known = ", ".join(f"{major}.{minor}" for major, minor in _ONNX_OF)
        if not pinned or pinned[0][:2] not in _ONNX_OF:
            found = ".".join(map(str, pinned[0])) if pinned else "none"
            raise ModelCommandError(
                f"{lock}: expected a pinned onnxruntime of {known}, got {found}; add its ONNX release to "
                "edge_model/runtime.py"
            )
        release = _ONNX_OF[pinned[0][0], pinned[0][1]]
        _, ir, opset, ml_opset, *_ = next(row for row in VERSION_TABLE if row[0] == release)
        return cls(version=".".join(map(str, pinned[0])), ir=ir, opset=opset, ml_opset=ml_opset)

    def faults(self, name: str, model: onnx.ModelProto) -> Iterator[str]:
        """Say what this runtime could not load or run of a model.

        Args:
            name: of the model, for messages.
            model: the model.
        """
        runtime = f"ONNX Runtime {self.version}, a device's oldest,"
        if model.ir_version > self.ir:
            yield f"{name}: {runtime} expects IR version {self.ir} at the most, got {model.ir_version}; save it so"
        opsets = {item.domain: item.version for item in model.opset_import}
        limits = {"": self.opset, "ai.onnx": self.opset, "ai.onnx.ml": self.ml_opset}
        for domain, version in opsets.items():
            if domain not in limits:
                yield (
                    f"{name}: operator set {domain!r}: {runtime} is not known to have it, on every processor; export "
                    "the model with standard operators"
                )
            elif version > limits[domain]:
                yield (
                    f"{name}: operator set {domain or 'ai.onnx'} {version}: {runtime} expects {limits[domain]} at the "
                    f"most; export the model with that, or convert it: onnx.version_converter"
                )
        local = {(function.domain, function.name) for function in model.functions}
        for node in nodes(model):
            domain = "" if node.domain in _STANDARD else node.domain
            if domain not in limits or (node.domain, node.op_type) in local:
                continue
            if not _exists(node.op_type, domain, min(opsets.get(domain, 1), limits[domain])):
                yield (
                    f"{name}: operator {node.op_type} ({node.name or ', '.join(node.output)}): {runtime} expects one "
                    f"of operator set {domain or 'ai.onnx'} {opsets.get(domain, 1)}, there is none of that name; "
                    "export the model with standard operators"
                )


def nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node of a model, those inside of branches, loops and functions included."""
    waiting = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while waiting:
        node = waiting.pop()
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                waiting.extend(graph.node)


def _exists(operator: str, domain: str, version: int) -> bool:
    try:
        schema = onnx.defs.get_schema(operator, version, domain)
    except onnx.defs.SchemaError:
        return False
    return not schema.deprecated
