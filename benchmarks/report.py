# SPDX-License-Identifier: Apache-2.0
"""What was measured, as JSON, as a table and as a plot."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from benchmarks import packaging
from benchmarks.candidates import ROOT

if TYPE_CHECKING:
    from pathlib import Path

#: What the agent is held to: model, candidate, figure, bound, and whether the bound is the least or the most.
TARGETS = (
    ("squeezenet", "agent shared memory", "ratio", 0.90, "least"),
    ("resnet50", "agent shared memory", "ratio", 0.97, "least"),
    ("tiny", "agent inline", "added_us", 500.0, "most"),
    ("squeezenet", "agent shared memory", "throughput_ratio_2", 0.80, "least"),
)
OURS = ("agent inline", "agent shared memory")
PEERS = ("mlserver", "litserve")
#: Load average before the run from which on its figures are not to be trusted.
BUSY = 0.5
DURABLE_CAPTURES = 700  # a second
_COLUMNS = (
    ("p50", "p50_us", "{:.0f} us"),
    ("p99", "p99_us", "{:.0f} us"),
    ("of in process", "ratio", "{:.2f}"),
    ("added", "added_us", "{:.0f} us"),
    ("1 client", "per_second_1", "{:.0f}/s"),
    ("2 clients", "per_second_2", "{:.0f}/s"),
    ("of in process", "throughput_ratio_2", "{:.2f}"),
)


def write(result: dict[str, Any], folder: Path) -> None:
    """Write ``results.json`` and ``results.md``."""
    (folder / "results.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    (folder / "results.md").write_text(table(result) + "\n", encoding="utf-8")


def table(result: dict[str, Any]) -> str:
    """Write everything as Markdown."""
    about = result["machine"]
    heading = (
        f"{about['cpu']}, {about['cores']} cores, {about['memory_mb']} MB, Linux {about['kernel']} "
        f"{about['architecture']}; Python {about['python']}, onnxruntime {about['onnxruntime']}, "
        f"grpcio {about['grpcio']}, NumPy {about['numpy']}; load before the run {about['load_before']:.2f}; "
        f"{result['time']}{'; quick run, figures are rough' if result['quick'] else ''}; {result['minutes']} minutes"
    )
    lines = [heading]
    if about["load_before"] > BUSY:
        lines += [
            "",
            "**The machine was busy with other work: no figure or target below can be relied on. Run it again.**",
        ]
    for name, model in result["models"].items():
        lines += ["", f"**{name}**: {model['what']}, {model['input_mb']} MB in", ""]
        rows = [
            [candidate, *(form.format(figures[key]) for _, key, form in _COLUMNS)]
            for candidate, figures in model["candidates"].items()
        ]
        lines += _markdown(["", *(title for title, _, _ in _COLUMNS)], rows)
        lines += [f"\n{candidate} FAILED: {why}" for candidate, why in model["failed"].items()]
    lines += ["", "**servers**", ""]
    rows = [
        [
            name,
            f"{figures['start_seconds']:.1f} s",
            f"{figures['rss_empty_mb']:.0f} MB" if "rss_empty_mb" in figures else "",
            f"{figures['rss_mb']:.0f} MB",
            f"{figures['installed_mb']:.0f} MB",
        ]
        for name, figures in result["servers"].items()
    ]
    lines += _markdown(["", "start to first prediction", "RSS without models", "RSS with them", "installed"], rows)
    lines += ["", *_captures(result["captures"])]
    lines += ["", packaging.line(result["packaging"])]
    lines += ["", "**targets**", "", *_targets(result)]
    lines += [f"absent: {reason}" for reason in result["absent"]]
    return "\n".join(lines)


def _captures(captured: dict[str, Any]) -> list[str]:
    columns = ("acknowledged", "durable", "floor")
    rows = [
        [
            place,
            *(f"{captured[place][f'{name}_per_second']:.0f}/s" for name in columns),
            f"{captured[place]['ratio']:.2f}",
        ]
        for place in ("disk", "memory")
        if place in captured
    ]
    heading = (
        f"**captures** of 0.6 MB, {captured['records']} by four clients, median of {captured['rounds']} rounds; "
        "floor: the same files written and synced, and nothing else"
    )
    return [heading, "", *_markdown(["", *columns, "durable of floor"], rows)]


def _targets(result: dict[str, Any]) -> list[str]:
    lines = []
    for model, candidate, figure, bound, kind in TARGETS:
        if candidate not in result["models"].get(model, {"candidates": {}})["candidates"]:
            lines.append(f"- {model}, {candidate}, {figure}: not measured")
            continue
        got = result["models"][model]["candidates"][candidate][figure]
        met = got >= bound if kind == "least" else got <= bound
        lines.append(
            f"- {model}, {candidate}, {figure}: at {kind} {bound:g}, got {got:.3g}: {'met' if met else 'MISSED'}"
        )
    disk = result["captures"]["disk"]
    durable = disk["durable_per_second"]
    met = "met" if durable >= DURABLE_CAPTURES else "MISSED"
    lines.append(
        f"- captures of 0.6 MB, durable: at least {DURABLE_CAPTURES}/s, got {durable:.0f}/s: {met} "
        f"({disk['ratio']:.2f} of what this disk gave: {disk['floor_per_second']:.0f}/s)"
    )
    lines.append(f"- ahead of every peer on every row: {_behind(result) or 'met'}")
    return lines


def _behind(result: dict[str, Any]) -> str:
    """Where a peer is better than the agent as devices run it."""
    found = []
    for model, measured in result["models"].items():
        ours = [figures for name, figures in measured["candidates"].items() if name in OURS]
        for peer, theirs in measured["candidates"].items():
            if peer not in PEERS:
                continue
            for figure, better in (("p50_us", min), ("p99_us", min), ("per_second_1", max), ("per_second_2", max)):
                values = [figures[figure] for figures in ours]
                if not values or better(*values, theirs[figure]) == theirs[figure]:
                    found.append(f"{model} {figure} ({peer} {theirs[figure]:.0f})")
    agent = result["servers"].get("agent", {})
    for peer in PEERS:
        for figure, theirs in result["servers"].get(peer, {}).items():
            got = agent.get(figure, float("inf"))
            if theirs <= got:
                found.append(f"{figure} ({peer} {theirs:.1f}, agent {got:.1f})")
    return f"MISSED: {', '.join(found)}" if found else ""


def _markdown(head: list[str], rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[index]) for row in [head, *rows]) for index in range(len(head))]
    rule = ["-" * width for width in widths]
    return [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in [head, rule, *rows]
    ]


def plot(folder: Path, python: Path) -> None:
    """Draw ``results.png`` with the peers' environment, which has the library for it."""
    if not python.exists():
        sys.stdout.write("no plot: its library is in .venv/peers, which is not there\n")
        return
    # As a module: beside its file stands one that would hide a package which the library needs.
    command = [str(python), "-m", "benchmarks.plot", str(folder.resolve())]
    done = subprocess.run(command, cwd=ROOT, check=False, timeout=120)  # noqa: S603 # the project's own program
    if done.returncode:
        sys.stdout.write("no plot: it could not be drawn, its error stands above\n")
