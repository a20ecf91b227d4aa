# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import dataclasses
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local.demo import charts, page
from local.demo.report import Prediction, Report

HELD_OUT = Path(__file__).parents[3] / "models" / "digits" / "held_out"
NAMES = sorted(path.name for path in HELD_OUT.glob("*.png"))[:6]
VOID = {"br", "img", "line", "meta", "rect", "wbr"}
HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=y>"


class Page(HTMLParser):
    """The page as a tree of its own checking: tags balanced, text and attributes by tag."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.texts.append((self.open[-1], data.strip()))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def text(self, tag: str | None = None) -> str:
        return "\n".join(text for name, text in self.texts if tag in {None, name})


def prediction(image: str, true_label: str, label: str, score: float = 0.9, predict_ms: float = 1.0) -> Prediction:
    return Prediction(image=image, true_label=true_label, label=label, score=score, predict_ms=predict_ms)


@pytest.fixture(name="report")
def _report() -> Report:
    predictions = [
        prediction(NAMES[0], "a", "a", 0.9, 1.0),
        prediction(NAMES[1], "a", "a", 0.6, 2.0),
        prediction(NAMES[2], "a", "b", 0.7, 3.0),
        prediction(NAMES[3], "b", "b", 0.8, 4.0),
        prediction(NAMES[4], "b", "b", 0.5, 90.0),
    ]
    return Report(
        deployed={"AWS::S3::Bucket": 2, "AWS::IoT::RoleAlias": 1},
        emulated={"AWS::IoT::RoleAlias": 1},
        not_deployed=[],
        model="digits",
        model_version="1.0",
        model_digest="d" * 64,
        declared_digest="d" * 64,
        labels=["a", "b", "c"],
        predictions=predictions,
        images=5,
        accuracy=0.96,
        differing_labels=[],
        captures=5,
        captures_twice=0,
        captures_unlike_predictions=0,
        capture_objects=1,
        capture_key="sme-capture/x.jsonl",
        capture_record={"eventMetadata": {"eventId": "the id"}},
        messages=5,
        message={"inference-results": []},
        metric_predictions=5,
        predict_ms_p50=3.0,
        predict_ms_p99=90.0,
        denied_call="AccessDenied: s3:PutObject",
        seconds={"synth": 5.25, "in all": 33.3},
    )


def render(report: Report, **changes: Any) -> Page:
    return Page(page.render(dataclasses.replace(report, **changes), images=HELD_OUT))


def test_the_page_is_one_file_that_loads_and_runs_nothing(report: Report) -> None:
    shown = render(report)
    names = {name for name, _ in shown.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "base", "form", "a"}
    assert all((image["src"] or "").startswith("data:image/png;base64,") for image in shown.all("img"))
    assert not [key for _, attributes in shown.tags for key in attributes if key.startswith("on")]
    (policy,) = (meta["content"] for meta in shown.all("meta") if "http-equiv" in meta)
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "url(" not in page.render(report, images=HELD_OUT)
    assert "@import" not in page.render(report, images=HELD_OUT)


def test_a_phone_a_printer_and_the_dark_are_thought_of(report: Report) -> None:
    html = page.render(report, images=HELD_OUT)
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in html
    for query in ("@media (max-width: 30rem)", "@media print", "@media (prefers-color-scheme: dark)"):
        assert query in html


def test_tables_say_what_their_cells_are(report: Report) -> None:
    shown = render(report)
    assert len(shown.all("table")) == shown.text("caption").count("\n") + 1 == 4
    assert all(header.get("scope") in {"row", "col"} for header in shown.all("th"))
    for region in (div for div in shown.all("div") if div.get("class") == "wide"):
        assert region["role"] == "region"
        assert region["aria-label"]
        assert region["tabindex"] == "0"
    assert [len(shown.all(tag)) for tag in ("h1", "main", "header", "footer")] == [1, 1, 1, 1]
    assert shown.all("html") == [{"lang": "en"}]
    ids = [attributes["id"] for _, attributes in shown.tags if "id" in attributes]
    assert sorted(ids, key=str) == sorted((section["aria-labelledby"] for section in shown.all("section")), key=str)


def test_the_matrix_counts_every_prediction(report: Report) -> None:
    html = page.render(report, images=HELD_OUT)
    (table,) = (part.split("</table>")[0] for part in html.split('<table class="matrix">')[1:])
    rows = [Page(f"<tr>{row.split('</tr>')[0]}</tr>") for row in table.split("<tbody>")[1].split("<tr>")[1:]]
    assert [[text for _, text in row.texts] for row in rows] == [
        ["a", "2", "1", "·"],
        ["b", "·", "2", "·"],
        ["c", "·", "·", "0"],
    ]


def test_a_label_that_the_list_lacks_is_shown_too(report: Report) -> None:
    shown = render(report, labels=["a"])
    assert shown.text("th").count("b\n") >= 2


def test_wrong_images_come_first_and_each_class_once(report: Report) -> None:
    shown = render(report)
    images = [base64.b64decode((image["src"] or "").partition(",")[2]) for image in shown.all("img")]
    assert images == [(HELD_OUT / NAMES[index]).read_bytes() for index in (2, 1, 4)]
    assert [image["alt"] for image in shown.all("img")] == ["Image of class a", "Image of class a", "Image of class b"]
    assert "1 predicted wrongly" in shown.text("h3")


def test_of_many_wrong_images_the_surest_are_shown(report: Report) -> None:
    wrong = [prediction(NAMES[0], "a", "b", score=index / 100) for index in range(60)]
    shown = render(report, predictions=wrong)
    assert len(shown.all("img")) == 24
    assert "60 predicted wrongly" in shown.text("h3")
    assert "0.590, shows a" in shown.text("figcaption")
    assert "None." in shown.text("p")


def test_the_verdict_lists_what_is_wrong(report: Report) -> None:
    assert "All is as it must be." in render(report).text("p")
    shown = render(report, accuracy=0.5, not_deployed=["dev/Bucket"], denied_call="")
    assert "3 not as it must be:" in shown.text("p")
    assert "accuracy 0.5000 is below 0.95" in shown.text("li")
    assert "dev/Bucket" in shown.text("code")
    assert "could write outside" in shown.text("span")


def test_who_emulates_what_is_said(report: Report) -> None:
    html = page.render(report, images=HELD_OUT)
    assert '<th scope="row">AWS::<wbr>IoT::<wbr>RoleAlias</th><td class="number">1</td><td>this project</td>' in html
    assert '<th scope="row">AWS::<wbr>S3::<wbr>Bucket</th><td class="number">2</td><td>ministack</td>' in html
    assert "3 deployed, 1 of them emulated by this project." in html


def test_no_predictions_leave_a_page(report: Report) -> None:
    shown = render(report, predictions=[])
    assert "No predictions." in shown.text("p")
    assert shown.all("img") == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(text=st.one_of(st.just(HOSTILE), st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)))
def test_whatever_names_say_they_stay_text(report: Report, text: str) -> None:
    usual = render(report)
    hostile = render(
        report,
        model=text,
        model_version=text,
        model_digest=text,
        labels=[text, "b", "c"],
        predictions=[dataclasses.replace(item, label=text) for item in report.predictions],
        capture_key=text,
        capture_record={"key": text},
        message={text: text},
        denied_call=text,
        deployed={text: 3},
        emulated={},
        seconds={text: 1.0, "in all": 1.0},
    )
    usual_tags, hostile_tags = ({name for name, _ in shown.tags} for shown in (usual, hostile))
    assert hostile_tags <= usual_tags
    assert not [key for _, attributes in hostile.tags for key in attributes if key.startswith("on")]
    if text == text.strip():
        assert text in hostile.text("code")


def test_an_image_outside_of_the_folder_is_not_read(report: Report, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    images = tmp_path / "images"
    images.mkdir()
    with pytest.raises(FileNotFoundError):
        page.render(
            dataclasses.replace(report, predictions=[prediction("../secret.png", "a", "a")]),
            images=images,
        )


def test_the_page_is_written_whole(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    page.write(path, report, images=HELD_OUT)
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    with pytest.raises(FileNotFoundError):
        page.write(path, report, images=tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == ["report.html"]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200), st.floats(0, 1e6))
def test_the_histogram_counts_every_value_once(values: list[float], upper: float) -> None:
    assert sum(item.count for item in charts.bins(values, upper=upper)) == len(values)
    drawn = Page(charts.histogram(values, upper=upper, unit="ms", title="t"))
    assert len(drawn.all("rect")) == 30
    assert all(0 <= float(bar["height"] or -1) <= 200 for bar in drawn.all("rect"))
