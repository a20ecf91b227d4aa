# SPDX-License-Identifier: Apache-2.0
"""What an approval is shown: S3 and SSM are the embedded AWS's, the report is a program that says what it was asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from operations.change_approval import LONGEST_SUMMARY, report_change, shorten
from operations.errors import OperationError

PROGRAM = """\
import argparse, pathlib, sys
parser = argparse.ArgumentParser()
for option in ("--base", "--format", "--out"):
    parser.add_argument(option, required=True)
options = parser.parse_args()
code = int(pathlib.Path("code").read_text())
if code in (0, 3):
    pathlib.Path(options.out).write_text(f"{options.format} since\\n{options.base}")
sys.exit(code)
"""


@pytest.fixture
def report(aws: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the step with a report that ends with a code."""
    monkeypatch.setattr("operations.change_approval.ROOT", tmp_path)
    (tmp_path / "change_report.py").write_text(PROGRAM, encoding="utf-8")
    bucket = f"reports-{tmp_path.name}".replace("_", "-").lower()
    aws.client("s3").create_bucket(Bucket=bucket)

    def run(code: int, *, to: str = "reports/prod/1.html") -> tuple[str, str]:
        (tmp_path / "code").write_text(str(code))
        report_change(
            s3=aws.client("s3"),
            ssm=aws.client("ssm"),
            base_parameter=f"/{tmp_path.name}/commit",
            base="HEAD~1",
            to=f"s3://{bucket}/{to}",
            out=tmp_path / "out",
            say=lambda _line: None,
        )
        kept = aws.client("s3").get_object(Bucket=bucket, Key=to)
        assert kept["ContentType"] == "text/html; charset=utf-8"
        return kept["Body"].read().decode(), (tmp_path / "out" / "summary.txt").read_text()

    return run


@pytest.mark.parametrize("code", [0, 3])
def test_the_report_is_kept_and_summed_up(report: Any, code: int) -> None:
    assert report(code) == ("html since\nHEAD~1", "summary since HEAD~1")


def test_it_is_held_against_the_commit_that_runs(report: Any, aws: Any, tmp_path: Path) -> None:
    aws.client("ssm").put_parameter(Name=f"/{tmp_path.name}/commit", Value="abc123", Type="String")
    assert report(0) == ("html since\nabc123", "summary since abc123")


def test_a_report_that_fails_stops_the_release(report: Any) -> None:
    with pytest.raises(OperationError, match=r"the change report since HEAD~1 ended with exit code 1"):
        report(1)


def test_a_wrong_place_is_refused(report: Any) -> None:
    with pytest.raises(OperationError, match=r"s3://<bucket>/<key> is expected, got 's3://[a-z0-9-]+/'"):
        report(0, to="")


@hypothesis.given(st.text(max_size=3000))
def test_any_summary_is_one_paragraph_that_an_approval_takes(text: str) -> None:
    short = shorten(text)
    assert 0 < len(short) <= LONGEST_SUMMARY
    assert len(short.splitlines()) == 1
    assert "#{" not in short


def test_a_long_summary_says_that_there_is_more() -> None:
    assert shorten("word " * 500).endswith("word ... (the report has the rest)")
