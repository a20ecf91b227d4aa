# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from operations.errors import OperationError, RefusedError
from operations.target import ROOT

# Runs the CDK CLI with arguments; what it prints goes to the terminal.
Cdk = Callable[[Sequence[str]], None]


def pinned_cdk(environment_name: str | None) -> Cdk:
    """The CDK CLI that this project pins, on one environment of the app, or on the whole app.

    Every call synthesises into an empty folder: an old validation report or template would count there.
    """
    program = ROOT / "node_modules" / ".bin" / "cdk"
    output = ROOT / "build" / "operations" / (environment_name or "all") / "cdk.out"
    context = [f"--context=env={environment_name}"] if environment_name else []

    def run(arguments: Sequence[str]) -> None:
        if not program.exists():
            raise RefusedError(f"the CDK CLI is not installed: there is no {program}. Run `make setup`")
        shutil.rmtree(output, ignore_errors=True)
        output.parent.mkdir(parents=True, exist_ok=True)
        command = [str(program), *arguments, *context, f"--output={output}"]
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        variables = {**os.environ, "PATH": path, "CDK_DISABLE_CLI_TELEMETRY": "1", "NODE_NO_WARNINGS": "1"}
        code = subprocess.run(command, cwd=ROOT, env=variables, check=False).returncode  # noqa: S603 -- the pinned CLI
        if code:
            raise OperationError(f"cdk {arguments[0]} ended with exit code {code}; what it says above tells why")

    return run
