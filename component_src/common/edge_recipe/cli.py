# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edge_recipe.errors import Severity
from edge_recipe.linting import UnreadableError, lint_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edge_recipe.errors import Problem

_DESCRIPTION = """\
Check Greengrass recipes for what breaks on a device.

  error    breaks on every device, or in the service that takes the recipe
  warning  breaks on some devices only, mostly those with nucleus lite

A script with braces that nucleus lite does not know is only a warning, though lite runs what is left of it.
"""
_EPILOG = """\
exit status: 0 no errors; 1 errors (with --strict: or warnings); 2 wrong usage, or a file could not be read
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; see its ``--help``."""
    parser = argparse.ArgumentParser(prog="edge-recipe", description="Greengrass recipes for both nuclei.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    lint = commands.add_parser(
        "lint",
        help="check recipes, JSON or YAML",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    lint.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a recipe: .json, .yaml or .yml")
    lint.add_argument("--format", choices=("text", "json"), default="text", help="how to report (%(default)s)")
    lint.add_argument("--strict", action="store_true", help="take warnings for errors, as synth does with our own")
    options = parser.parse_args(arguments)
    found: dict[str, list[Problem]] = {}
    unreadable = []
    for path in options.files:
        try:
            found[str(path)] = lint_file(path)
        except UnreadableError as error:  # noqa: PERF203 # the other files are looked at
            unreadable.append(str(error))
    sys.stdout.write((_as_json if options.format == "json" else _as_text)(found))
    if unreadable:
        sys.stderr.write("".join(f"{message}\n" for message in unreadable))
        return 2
    return 1 if _count(found, Severity.ERROR) or (options.strict and any(found.values())) else 0


def _as_text(found: Mapping[str, Sequence[Problem]]) -> str:
    lines = [f"{file}: {problem.severity.value}: {problem}" for file, problems in found.items() for problem in problems]
    errors, warnings = _count(found, Severity.ERROR), _count(found, Severity.WARNING)
    lines.append(f"{len(found)} recipe(s): {errors} error(s), {warnings} warning(s)")
    return "\n".join(lines) + "\n"


def _as_json(found: Mapping[str, Sequence[Problem]]) -> str:
    files = [
        {
            "file": file,
            "problems": [
                {
                    "severity": problem.severity.value,
                    "place": problem.place,
                    "expected": problem.expected,
                    "found": problem.found,
                    "remedy": problem.remedy,
                }
                for problem in problems
            ],
        }
        for file, problems in found.items()
    ]
    document = {
        "files": files,
        "errors": _count(found, Severity.ERROR),
        "warnings": _count(found, Severity.WARNING),
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _count(found: Mapping[str, Sequence[Problem]], severity: Severity) -> int:
    return sum(problem.severity is severity for problems in found.values() for problem in problems)
