# SPDX-License-Identifier: Apache-2.0
"""Draws results.json: python -m benchmarks.plot FOLDER."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt

_COLOURS = {
    "agent inline": "#9ecae1",
    "agent shared memory": "#2171b5",
    "agent, grpcio inline": "#a1d99b",
    "agent, grpcio shared memory": "#238b45",
    "mlserver": "#fd8d3c",
    "litserve": "#bdbdbd",
}
_PANELS = (
    ("ratio", "p50 latency, one client: share of in process"),
    ("throughput_ratio_2", "throughput, two clients: share of in process"),
    ("added_us", "added to p50, microseconds (lower is better)"),
)


def main() -> None:
    """Draw how close each candidate comes to ONNX Runtime in process, and what it adds to a prediction."""
    folder = Path(sys.argv[1])
    result = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    models = result["models"]
    names = [name for name in _COLOURS if any(name in model["candidates"] for model in models.values())]
    figure, axes = plt.subplots(1, len(_PANELS), figsize=(15, 4.8))
    for axis, (key, title) in zip(axes, _PANELS, strict=True):
        _draw(axis, models, names, key)
        axis.set_title(title, fontsize="medium")
        axis.grid(axis="y", alpha=0.3)
        if key == "added_us":
            axis.set_yscale("log")
        else:
            axis.axhline(1, color="black", linewidth=1)
    about = result["machine"]
    figure.suptitle(f"ONNX Runtime in process = 1; {about['cpu']}, {about['cores']} cores", fontsize="small")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncols=len(names), fontsize="small")
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.savefig(folder / "results.png", dpi=110)


def _draw(axis: Any, models: dict[str, Any], names: list[str], key: str) -> None:
    width = 0.84 / len(names)
    for index, name in enumerate(names):
        found = [
            (position + index * width, model["candidates"][name][key])
            for position, model in enumerate(models.values())
            if name in model["candidates"]
        ]
        places, values = zip(*found, strict=True)
        axis.bar(places, values, width, label=name, color=_COLOURS[name])
    axis.set_xticks([position + 0.42 - width / 2 for position in range(len(models))], list(models))


if __name__ == "__main__":
    main()
