# SPDX-License-Identifier: Apache-2.0
"""The demo's result as one HTML file: no script, no network, readable on a phone, in print and by a screen reader."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from local.demo.charts import histogram
from local.demo.report import Prediction, Report, percentile

_STYLE = Path(__file__).with_name("page.css")
_MOST_WRONG = 24
# Nothing is loaded, whatever a name in the report may say.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def write(path: Path, report: Report, *, images: Path) -> None:
    """Write the page, whole or not at all.

    Args:
        path: the HTML file.
        report: what the demo found.
        images: the folder of the images that the predictions name.
    """
    part = path.with_name(path.name + ".part")
    part.write_text(render(report, images=images), encoding="utf-8")
    part.replace(path)


def render(report: Report, *, images: Path) -> str:
    """Make the page's HTML; see `write`."""
    sections = (
        _section("Confusion matrix", _confusion(report)),
        _section("Images", _images(report, images)),
        _section("Latency", _latency(report)),
        _section("Resources", _resources(report)),
        _section("Captures", _captures(report)),
        _section("Messages and permissions", _messages(report)),
        _section("Time", _times(report.seconds)),
    )
    style = _STYLE.read_text(encoding="utf-8")
    title = f"{report.model} {report.model_version} on the edge"
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"<header>\n<h1>{escape(title)}</h1>\n{_verdict(report)}\n{_figures(report)}\n</header>\n"
        f"<main>\n{''.join(sections)}</main>\n"
        "<footer>Deployed by <code>cdk deploy</code> to an AWS that is emulated on this machine, and predicted by the "
        "components of the deployment on a local core device.</footer>\n</body>\n</html>\n"
    )


def _section(title: str, content: str) -> str:
    id_ = title.lower().replace(" ", "-")
    return f'<section aria-labelledby="{id_}">\n<h2 id="{id_}">{escape(title)}</h2>\n{content}\n</section>\n'


def _verdict(report: Report) -> str:
    faults = report.faults()
    if not faults:
        return '<p class="verdict good">All is as it must be.</p>'
    items = "".join(f"<li>{escape(fault)}</li>" for fault in faults)
    return f'<p class="verdict wrong">{len(faults)} not as it must be:</p>\n<ul>{items}</ul>'


def _figures(report: Report) -> str:
    equal = report.images - len(report.differing_labels)
    figures = (
        ("accuracy", f"{report.accuracy:.2%}"),
        ("held-out images", str(report.images)),
        ("labels as ONNX Runtime alone", f"{equal} of {report.images}"),
        ("captures in the bucket", str(report.captures)),
        ("messages behind IoT Core", str(report.messages)),
        ("Predict, median", f"{report.predict_ms_p50:.2f} ms"),
        ("resources deployed", str(sum(report.deployed.values()))),
        ("from synth to here", f"{report.seconds.get('in all', sum(report.seconds.values())):.0f} s"),
    )
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in figures)
    return (
        f'<dl class="figures">{items}</dl>\n'
        '<p class="soft">Model digest, verified when the agent loaded it: '
        f"<code>{escape(report.model_digest)}</code></p>"
    )


def _confusion(report: Report) -> str:
    counts = Counter((item.true_label, item.label) for item in report.predictions)
    totals = Counter(item.true_label for item in report.predictions)
    # A label that the model's list lacks is shown as well, not lost.
    labels = list(dict.fromkeys([*report.labels, *(label for pair in sorted(counts) for label in pair)]))
    head = "".join(f'<th scope="col">{escape(label)}</th>' for label in labels)
    rows = []
    for true in labels:
        cells = "".join(_cell(counts[true, label], totals[true], hit=true == label) for label in labels)
        rows.append(f'<tr><th scope="row">{escape(true)}</th>{cells}</tr>')
    return _scrolled(
        "Confusion matrix",
        '<table class="matrix">\n<caption>Rows: what the image shows. Columns: what was predicted.</caption>\n'
        f'<thead><tr><td aria-hidden="true">↓ →</td>{head}</tr></thead>\n'
        f"<tbody>\n{chr(10).join(rows)}\n</tbody>\n</table>",
    )


def _cell(count: int, total: int, *, hit: bool) -> str:
    if not count:
        return '<td class="none">·</td>' if not hit else '<td class="none">0</td>'
    if hit:
        return f'<td class="hit" style="--share: {count / total:.3f}">{count}</td>'
    return f'<td class="miss">{count}</td>'


def _images(report: Report, folder: Path) -> str:
    wrong = sorted((item for item in report.predictions if item.label != item.true_label), key=lambda item: -item.score)
    least_sure: dict[str, Prediction] = {}
    for item in sorted(report.predictions, key=lambda item: item.score):
        if item.label == item.true_label:
            least_sure.setdefault(item.label, item)
    right = [least_sure[label] for label in sorted(least_sure)]
    shown = wrong[:_MOST_WRONG]
    more = f" The {len(shown)} surest of them:" if len(wrong) > len(shown) else ""
    return (
        f"<h3>{len(wrong)} predicted wrongly</h3>\n"
        + (f'<p class="soft">The surest first.{more}</p>\n' if wrong else "")
        + _gallery(shown, folder)
        + "\n<h3>Predicted rightly</h3>\n"
        + '<p class="soft">Of each class the one that the model was least sure of.</p>\n'
        + _gallery(right, folder)
    )


def _gallery(predictions: Iterable[Prediction], folder: Path) -> str:
    figures = "".join(f"<li>{_figure(item, folder)}</li>\n" for item in predictions)
    return f'<ul class="images">\n{figures}</ul>' if figures else '<p class="soft">None.</p>'


def _figure(item: Prediction, folder: Path) -> str:
    kind = "jpeg" if item.image.lower().endswith((".jpg", ".jpeg")) else "png"
    data = base64.b64encode((folder / Path(item.image).name).read_bytes()).decode()
    wrong = item.label != item.true_label
    shows = f", shows {escape(item.true_label)}" if wrong else ""
    emphasis = '<strong class="wrong">' if wrong else "<strong>"
    return (
        f'<figure><img src="data:image/{kind};base64,{data}" alt="Image of class {escape(item.true_label)}">'
        f"<figcaption>{emphasis}{escape(item.label)}</strong> {item.score:.3f}{shows}"
        f"<br>{escape(item.image)}</figcaption></figure>"
    )


def _latency(report: Report) -> str:
    values = [item.predict_ms for item in report.predictions]
    if not values:
        return '<p class="soft">No predictions.</p>'
    points = {"least": min(values), "greatest": max(values)}
    if len(values) > 1:
        points = {
            "least": min(values),
            **{f"p{p}": percentile(values, p) for p in (50, 90, 99)},
            "greatest": max(values),
        }
    upper = points.get("p99", max(values))
    title = f"Distribution of {len(values)} Predict calls, median {points.get('p50', upper):.2f} ms"
    rows = [(name, f"{value:.2f} ms") for name, value in points.items()]
    return (
        '<p class="soft">Each Predict call as the inference component saw it: over the unix socket, through the agent '
        "and back. The axis ends at the 99th percentile.</p>\n"
        + histogram(values, upper=upper, unit="ms", title=title)
        + _table("Predict", ("Of all calls", "Duration"), rows)
    )


def _resources(report: Report) -> str:
    rows = []
    for type_, count in sorted(report.deployed.items()):
        ours = report.emulated.get(type_, 0)
        rows.append((type_, str(count), "this project" if ours else "ministack"))
    table = _table("Resources that CloudFormation deployed", ("Type", "Number", "Emulated by"), rows, numbers={1})
    missing = "".join(f"<li><code>{escape(name)}</code></li>" for name in report.not_deployed)
    total = (
        f"{sum(report.deployed.values())} deployed, {sum(report.emulated.values())} of them emulated by this project"
    )
    return f"<p>{total}.</p>\n{table}\n<h3>Not deployed</h3>\n" + (
        f"<ul>{missing}</ul>" if missing else '<p class="soft">None: every resource of the templates was.</p>'
    )


def _captures(report: Report) -> str:
    record = json.dumps(report.capture_record, indent=2, ensure_ascii=False)
    return (
        f"<p>{report.captures} records in {report.capture_objects} objects of the capture bucket; "
        f"{report.captures_twice} stand there twice, "
        f"{report.captures_unlike_predictions} hold another class than was predicted.</p>\n"
        f"<p>The last object: <code>{escape(report.capture_key)}</code></p>\n"
        f"<h3>One record</h3>\n<pre>{escape(record)}</pre>"
    )


def _messages(report: Report) -> str:
    message = json.dumps(report.message, indent=2, ensure_ascii=False)
    denied = (
        f"The device role was denied what it must not do: <code>{escape(report.denied_call)}</code>"
        if report.denied_call
        else '<span class="wrong">The device role could write outside the capture prefix.</span>'
    )
    return (
        f"<p>{report.messages} results came out of an IoT topic rule. The last:</p>\n<pre>{escape(message)}</pre>\n"
        f"<p>The device's heartbeats made a metric of {report.metric_predictions} predictions.</p>\n"
        f"<p>{denied}</p>"
    )


def _times(seconds: Mapping[str, float]) -> str:
    return _table("Steps of the demo", ("Step", "Seconds"), [(k, f"{v:.1f}") for k, v in seconds.items()], numbers={1})


def _table(
    caption: str, head: Sequence[str], rows: Iterable[Sequence[Any]], *, numbers: Iterable[int] = frozenset({1})
) -> str:
    sides = [' class="number"' if index in set(numbers) else "" for index in range(len(head))]

    def cells(values: Sequence[Any]) -> str:
        first, *others = (escape(str(value)).replace("::", "::<wbr>") for value in values)
        rest = "".join(f"<td{side}>{value}</td>" for side, value in zip(sides[1:], others, strict=True))
        return f'<th scope="row">{first}</th>{rest}'

    names = "".join(f'<th scope="col"{side}>{escape(name)}</th>' for side, name in zip(sides, head, strict=True))
    body = "\n".join(f"<tr>{cells(row)}</tr>" for row in rows)
    return _scrolled(
        caption,
        f"<table>\n<caption>{escape(caption)}</caption>\n<thead><tr>{names}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>",
    )


def _scrolled(label: str, table: str) -> str:
    """A table that may be wider than a phone: scrolled by itself, by keyboard as well."""
    return f'<div class="wide" role="region" aria-label="{escape(label)}" tabindex="0">\n{table}\n</div>'
