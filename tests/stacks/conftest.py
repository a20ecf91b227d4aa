# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stacks.application import build_app


@pytest.fixture(scope="session")
def assembly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`cdk.out` of every environment, synthesised once; cdk-nag's errors would fail it."""
    outdir = tmp_path_factory.mktemp("synth") / "cdk.out"
    build_app(outdir=str(outdir)).synth()
    return outdir


@pytest.fixture(scope="session")
def templates(assembly: Path) -> dict[str, dict[str, Any]]:
    """dev's templates by stack: Fleet, Models, Release."""
    found = {}
    for path in (assembly / "assembly-dev").glob("*.template.json"):
        stack = path.name.removeprefix("dev").rpartition(".template")[0][:-8]
        found[stack] = json.loads(path.read_text(encoding="utf-8"))
    return found
