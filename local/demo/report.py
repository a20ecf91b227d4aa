# SPDX-License-Identifier: Apache-2.0
"""The demo's result: measured, checked, shown in the terminal and written as JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

MINIMAL_ACCURACY = 0.95


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One image, by its file's name, as the device's log has it."""

    image: str
    true_label: str
    label: str
    score: float
    predict_ms: float


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that the demo found; durations in the units that their names say."""

    deployed: Mapping[str, int]
    emulated: Mapping[str, int]
    not_deployed: Sequence[str]
    model: str
    model_version: str
    model_digest: str
    declared_digest: str
    labels: Sequence[str]
    predictions: Sequence[Prediction]
    images: int
    accuracy: float
    differing_labels: Sequence[str]
    captures: int
    captures_twice: int
    captures_unlike_predictions: int
    capture_objects: int
    capture_key: str
    capture_record: Mapping[str, Any]
    messages: int
    message: Mapping[str, Any]
    metric_predictions: int
    predict_ms_p50: float
    predict_ms_p99: float
    denied_call: str
    seconds: Mapping[str, float]

    def faults(self) -> list[str]:
        """What is not as it must be; the demo fails on any."""
        unlike, expected = self.captures_unlike_predictions, f"{self.images} expected"
        checks = [
            (self.accuracy >= MINIMAL_ACCURACY, f"accuracy {self.accuracy:.4f} is below {MINIMAL_ACCURACY}"),
            (not self.differing_labels, f"{len(self.differing_labels)} labels differ from in-process ONNX Runtime's"),
            (self.model_digest == self.declared_digest, "the loaded model's digest is not the synthesised one"),
            (self.captures == self.images, f"{self.captures} captures in the bucket, {expected}"),
            (not self.captures_twice, f"{self.captures_twice} captures stand in the bucket more than once"),
            (not unlike, f"{unlike} captures hold another class than was predicted"),
            (self.messages == self.images, f"{self.messages} messages behind the topic rule, {expected}"),
            (
                self.metric_predictions == self.images,
                f"{self.metric_predictions} predictions in the metrics, {expected}",
            ),
            (bool(self.denied_call), "the device role could write outside the capture prefix"),
            (not self.not_deployed, f"not deployed: {', '.join(self.not_deployed)}"),
        ]
        return [fault for holds, fault in checks if not holds]

    def write(self, path: Path) -> None:
        """Write `report.json`, whole or not at all."""
        part = path.with_name(path.name + ".part")
        document = {**asdict(self), "faults": self.faults()}
        part.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        part.replace(path)

    def show(self, console: Console) -> None:
        """Print it, for a terminal of 100 columns."""
        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, text in self._rows():
            table.add_row(name, text)
        console.print(table)
        console.print()
        for fault in self.faults():
            console.print(f"[bold red]wrong[/]  {fault}")

    def _rows(self) -> list[tuple[str, str]]:
        metadata = self.capture_record["eventMetadata"]
        tensors = [*self.capture_record["deviceFleetInputs"], *self.capture_record["deviceFleetOutputs"]]
        equal = self.images - len(self.differing_labels)
        return [
            ("resources", f"{sum(self.deployed.values())} deployed by `cdk deploy` on the embedded AWS"),
            ("", f"{sum(self.emulated.values())} of them emulated by this project: {_counted(self.emulated)}"),
            ("", f"{len(self.not_deployed)} not deployed"),
            ("pipeline", "not deployed here: the stack Delivery needs AWS CodePipeline; nothing of it was run"),
            ("model", f"{self.model} {self.model_version}, digest {self.model_digest[:16]}…, verified at load"),
            ("accuracy", f"{self.accuracy:.4f} on {self.images} held-out images, as predicted on the device"),
            ("agreement", f"{equal} of {self.images} labels equal to in-process ONNX Runtime's"),
            ("captures", f"{self.captures} records in {self.capture_objects} objects of the capture bucket"),
            ("", self.capture_key),
            ("one record", f"{metadata['eventId']} at {metadata['inferenceTime']} from {metadata['deviceId']}"),
            (
                "",
                ", ".join(f"{tensor['mode']} {tensor['name']}: {tensor['observedContentType']}" for tensor in tensors),
            ),
            ("messages", f"{self.messages} results behind an IoT topic rule, the last: {_result(self.message)}"),
            (
                "metrics",
                f"{self.metric_predictions} predictions of {self.model} {self.model_version}, by its heartbeats",
            ),
            ("Predict", f"p50 {self.predict_ms_p50:.2f} ms, p99 {self.predict_ms_p99:.2f} ms, as the component saw it"),
            ("device role", f"denied as it must be: {self.denied_call}" if self.denied_call else "not enforced"),
            ("time", ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self.seconds.items())),
        ]


def percentile(values: Sequence[float], percent: int) -> float:
    """The `percent`-th percentile of at least two values, as `statistics.quantiles` interpolates it."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def _counted(types: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {type_.removeprefix('AWS::')}" for type_, count in sorted(types.items()))


def _result(message: Mapping[str, Any]) -> str:
    results = message.get("inference-results", [])
    return ", ".join(f"{result['Label']} ({float(result['Score']):.3f})" for result in results) or "no class over 0.3"
