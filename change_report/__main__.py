# SPDX-License-Identifier: Apache-2.0
"""What the working tree changes against BASE, per environment, for its reviewer; offline."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter

from change_report import markdown, page, terminal
from change_report.errors import BaseError, ReportError
from change_report.report import Report, make_report
from change_report.summary import summary, verdict
from change_report.wording import document
from stacks.components import ROOT

HARMLESS, FAILED, USAGE, DECISION = 0, 1, 2, 3
FORMATS = ("terminal", "markdown", "html", "json", "summary")


def main(arguments: Sequence[str] | None = None, *, root: Path = ROOT) -> int:
    """Make the report of the clone at `root`; the exit code tells whether it needs a decision."""
    options = _parser().parse_args(arguments)
    try:
        report = make_report(root, options.base)
    except BaseError as error:
        return _fail(error, USAGE)
    except ReportError as error:
        return _fail(error, FAILED)
    text = _rendered(report, options.format, to_stdout=options.out is None)
    if options.out is None:
        sys.stdout.write(text)
    else:
        try:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            part = options.out.with_name(f"{options.out.name}.part")
            part.write_text(text, encoding="utf-8")
            part.replace(options.out)
        except OSError as error:
            return _fail(ReportError(f"--out {options.out}: a file is expected that can be written: {error}"), FAILED)
    return DECISION if report.decisions else HARMLESS


def _rendered(report: Report, format_: str, *, to_stdout: bool) -> str:
    if format_ == "summary":
        return summary(report) + "\n"
    if format_ == "json":
        content = TypeAdapter(Report).dump_python(report, mode="json", exclude=_BYTES)
        told = {"verdict": verdict(report), "summary": summary(report), **content}
        return json.dumps(told, indent=1, ensure_ascii=False) + "\n"
    shown = document(report)
    if format_ == "terminal":
        return terminal.render(shown, stream=sys.stdout if to_stdout else None)
    return markdown.render(shown) if format_ == "markdown" else page.render(shown)


# A model's own files are compared, not told of.
_BYTES = {"models": {"__all__": {"before": {"files"}, "after": {"files"}}}}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m change_report",
        description=__doc__,
        epilog="Exit codes: 0 nothing changes, or nothing that needs a decision; 3 something does: state that is "
        "replaced or removed, a privilege widened, a model without evaluation; 1 failed; 2 asked wrongly, as with a "
        "BASE that is no commit here or holds no snapshots.",
    )
    parser.add_argument(
        "--base",
        metavar="REF",
        help="the commit to compare with (by default where this branch left origin/main, or main; on main itself with "
        "nothing changed, the commit before)",
    )
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="%(default)s by default")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write it there, whole or not at all")
    return parser


def _fail(error: ReportError, code: int) -> int:
    sys.stderr.write(f"error: {error}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
