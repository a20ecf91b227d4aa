# SPDX-License-Identifier: Apache-2.0
"""Draws results.json: python plot.py FOLDER."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt


def main() -> None:
    """Draw how close each candidate comes to ONNX Runtime in process, by latency and by two clients' throughput."""
    folder = Path(sys.argv[1])
    result = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    models = result["models"]
    names = list(next(iter(models.values()))["candidates"])
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.5), sharey=True)
    for axis, key, title in zip(
        axes, ("ratio", "throughput_ratio_2"), ("latency, one client (p50)", "throughput, two clients"), strict=True
    ):
        width = 0.8 / len(names)
        for index, name in enumerate(names):
            places = [position + index * width for position in range(len(models))]
            axis.bar(places, [model["candidates"][name][key] for model in models.values()], width, label=name)
        axis.set_xticks([position + 0.4 - width / 2 for position in range(len(models))], list(models))
        axis.set_title(title)
        axis.grid(axis="y", alpha=0.3)
    axes[0].set_ylabel("ONNX Runtime in process = 1")
    axes[1].legend(fontsize="small")
    about = result["machine"]
    figure.suptitle(f"{about['cpu']}, {about['cores']} cores; higher is better", fontsize="small")
    figure.tight_layout()
    figure.savefig(folder / "results.png", dpi=120)


if __name__ == "__main__":
    main()
