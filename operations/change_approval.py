# SPDX-License-Identifier: Apache-2.0
"""What a person is shown who approves a release: the change report, kept in S3, and one paragraph of it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from operations.errors import OperationError, code_of
from operations.target import ROOT, Say

LONGEST_SUMMARY = 1000  # characters that CodePipeline shows beside an approval
# The report's exit codes: nothing to decide, and something. Both are for the person to see.
_WRITTEN = frozenset({0, 3})
_CONTINUES = " ... (the report has the rest)"


def report_change(*, s3: Any, ssm: Any, base_parameter: str, base: str, to: str, out: Path, say: Say) -> None:
    """Write the change report as HTML and its summary, and keep the former in S3.

    Args:
        s3: client of the bucket.
        ssm: client that reads the commit which the environment runs.
        base_parameter: that commit's parameter.
        base: git ref that stands for it as long as there is none.
        to: `s3://<bucket>/<key>` of the report.
        out: folder for `report.html` and `summary.txt`.
        say: shows a person a line.

    Raises:
        OperationError: there is no report.
    """
    place = re.fullmatch(r"s3://([^/]+)/(.+)", to)
    if place is None:
        raise OperationError(f"--to: s3://<bucket>/<key> is expected, got {to!r}")
    ref = _commit(ssm, base_parameter) or base
    say(f"changes since {ref}")
    out.mkdir(parents=True, exist_ok=True)
    page, summary = out / "report.html", out / "summary.txt"
    _write(ref, "html", page)
    _write(ref, "summary", summary)
    summary.write_text(shorten(summary.read_text(encoding="utf-8")), encoding="utf-8")
    s3.put_object(Bucket=place[1], Key=place[2], Body=page.read_bytes(), ContentType="text/html; charset=utf-8")
    say(f"the report is kept as {to}")


def shorten(text: str) -> str:
    """One paragraph that an approval takes: no line breaks, no more than `LONGEST_SUMMARY` characters, never empty."""
    # A variable of CodePipeline's would be looked up in it.
    line = " ".join(text.split()).replace("#{", "# {") or "The change report has no summary."
    if len(line) <= LONGEST_SUMMARY:
        return line
    return line[: LONGEST_SUMMARY - len(_CONTINUES)].rstrip() + _CONTINUES


def _commit(ssm: Any, parameter: str) -> str | None:
    try:
        return str(ssm.get_parameter(Name=parameter)["Parameter"]["Value"])
    except ClientError as error:
        if code_of(error) != "ParameterNotFound":
            raise
        return None


def _write(ref: str, form: str, path: Path) -> None:
    command = [sys.executable, "-m", "change_report", "--base", ref, "--format", form, "--out", str(path)]
    done = subprocess.run(command, cwd=ROOT, check=False)  # noqa: S603 -- our own program
    if done.returncode not in _WRITTEN or not path.exists():
        raise OperationError(
            f"the change report since {ref} ended with exit code {done.returncode}; what it says above tells why"
        )
