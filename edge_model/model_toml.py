# SPDX-License-Identifier: Apache-2.0
"""model.toml written by a program, with everything that people wrote in it left where it is."""

from __future__ import annotations

import itertools
import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any

import onnxruntime

from edge_model.errors import ModelCommandError
from edge_model.evaluation import Measured
from edge_model.optimization import Outcome

_TABLE = re.compile(r"^\[+([^\]]+)\]+", re.MULTILINE)
# A comment, because the table's keys are those of every model, and only detectors have it.
_PRECISION = re.compile(r"^# mean average precision: ([0-9.]+) before, [0-9.]+ now$", re.MULTILINE)


def with_outcome(text: str, outcome: Outcome) -> str:
    """Write an optimisation into model.toml: the table [optimization], and what [evaluation] now is.

    Raises:
        ModelCommandError: the text is laid out so that it cannot be changed line by line.
    """
    before, after = outcome.before, outcome.after
    optimization = {
        "steps": list(outcome.steps),
        "onnxruntime": onnxruntime.__version__,
        "size_before": before.size,
        "size": after.size,
        "latency_before_ms": _rounded(before.latency_ms),
        "latency_ms": _rounded(after.latency_ms),
        "accuracy_before": round(before.measured.accuracy, 4),
        "accuracy": round(after.measured.accuracy, 4),
    }
    measured = {"images": after.measured.images, "accuracy": round(after.measured.accuracy, 4)}
    if after.measured.mean_average_precision is not None:
        measured["mean_average_precision"] = round(after.measured.mean_average_precision, 4)
    written = without_table(text, "optimization")
    for key, value in measured.items():
        written = _with_value(written, "evaluation", key, value)
    written = f"{written.rstrip()}\n\n{_table(optimization)}{_precision(before.measured, after.measured)}"
    expected = tomllib.loads(text)
    expected["optimization"] = optimization
    expected["evaluation"] = {**expected["evaluation"], **measured}
    if tomllib.loads(written) != expected:
        raise ModelCommandError(
            "model.toml: expected [evaluation] with one key a line, got another layout; write the keys so"
        )
    return written


def earlier_precision(text: str) -> float | None:
    """The mean average precision before the first optimisation, as `with_outcome` wrote it; None: there is none."""
    start, end = _span(text, "optimization")
    found = _PRECISION.search(text, start, end)
    return None if found is None else float(found.group(1))


def _precision(before: Measured, after: Measured) -> str:
    was, is_now = before.mean_average_precision, after.mean_average_precision
    return "" if was is None or is_now is None else f"# mean average precision: {was:.4f} before, {is_now:.4f} now\n"


def without_table(text: str, name: str) -> str:
    """The text without one of its tables."""
    start, end = _span(text, name)
    return text[:start] + text[end:]


def _span(text: str, name: str) -> tuple[int, int]:
    headers = [(match.group(1).strip(), match.start()) for match in _TABLE.finditer(text)] + [("", len(text))]
    for (found, start), (_, end) in itertools.pairwise(headers):
        if found == name:
            return start, end
    return len(text), len(text)


def _with_value(text: str, table: str, key: str, value: float) -> str:
    start, end = _span(text, table)
    line = re.compile(rf"^({key}\s*=\s*)[^\s#]+", re.MULTILINE)
    changed, count = line.subn(lambda match: f"{match.group(1)}{value!r}", text[start:end], count=1)
    if not count:
        changed = f"{changed.rstrip()}\n{key} = {value!r}\n\n"
    return text[:start] + changed + text[end:]


def _table(values: Mapping[str, Any]) -> str:
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
    comment = "written by edge-model optimize: bytes, milliseconds with one thread, shares"
    return f"[optimization] # {comment}\n{lines}"


def _rounded(milliseconds: float) -> float:
    return float(f"{milliseconds:.3g}")
