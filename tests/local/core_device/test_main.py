# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ARGUMENTS = ["--thing-name", "device-1", "--root", "unused", "--role-alias", "alias", "--iot-policy", "policy"]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "local.core_device", *arguments]
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "PYTHONPATH"))}
    return subprocess.run(
        command, cwd=ROOT, env=kept | environment, capture_output=True, text=True, timeout=30, check=False
    )


def test_help_needs_nothing_and_tells_the_options() -> None:
    result = run("--help")
    assert result.returncode == 0
    assert "--iot-policy" in result.stdout


@pytest.mark.parametrize("endpoint", [{}, {"AWS_ENDPOINT_URL": "https://iot.us-east-1.amazonaws.com"}])
def test_it_stays_away_from_real_accounts(endpoint: dict[str, str]) -> None:
    result = run(*ARGUMENTS, **endpoint)
    assert result.returncode == 2
    assert "AWS_ENDPOINT_URL" in result.stderr
    assert not (ROOT / "unused").exists()
