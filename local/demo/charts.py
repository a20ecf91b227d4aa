# SPDX-License-Identifier: Apache-2.0
"""What a row of numbers looks like, as SVG without script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT, _FOOT, _HEAD = 600, 200, 30, 26
_BARS = 30


@dataclass(frozen=True)
class Bin:
    """How many values lie from `start` up to `end`; the last bin holds all above as well."""

    start: float
    end: float
    count: int


def bins(values: Sequence[float], *, upper: float) -> list[Bin]:
    """Count values in `_BARS` steps of equal width, from the least to `upper`; what is above falls into the last."""
    low = min(values)
    step = (max(upper, low) - low) / _BARS or 1.0
    counts = [0] * _BARS
    for value in values:
        counts[int(min((value - low) / step, _BARS - 1))] += 1
    return [Bin(low + index * step, low + (index + 1) * step, count) for index, count in enumerate(counts)]


def histogram(values: Sequence[float], *, upper: float, unit: str, title: str) -> str:
    """Draw the distribution of at least one value.

    Args:
        values: what is counted.
        upper: where the axis ends; the last bar holds all above.
        unit: of the values.
        title: read out in place of the picture.
    """
    found = bins(values, upper=upper)
    most = max(item.count for item in found)
    width = _WIDTH / len(found)
    room = _HEIGHT - _FOOT - _HEAD
    bars = []
    for index, item in enumerate(found):
        height = room * item.count / most
        hint = f"{item.start:.2f} to {item.end:.2f} {escape(unit)}: {item.count}"
        bars.append(
            f'<rect class="bar" x="{index * width + 1:.1f}" y="{_HEAD + room - height:.1f}" width="{width - 2:.1f}" '
            f'height="{height:.1f}"><title>{hint}</title></rect>'
        )
    base = _HEAD + room
    middle = (found[0].start + found[-1].end) / 2
    marks = (
        (0.0, "start", f"{found[0].start:.2f} {unit}"),
        (_WIDTH / 2, "middle", f"{middle:.2f} {unit}"),
        (float(_WIDTH), "end", f"{found[-1].end:.2f} {unit} and above"),
    )
    labels = "".join(
        f'<text x="{x:.0f}" y="{_HEIGHT - 8}" text-anchor="{anchor}">{escape(text)}</text>' for x, anchor, text in marks
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f'<text x="0" y="18">up to {most} in a bar</text>{"".join(bars)}'
        f'<line x1="0" y1="{base}" x2="{_WIDTH}" y2="{base}"/>{labels}</svg>'
    )
