# SPDX-License-Identifier: Apache-2.0
"""What the recipes tell the client's gRPC through its environment is something that the pinned gRPC knows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# gRPC reads its variables with the first channel, and complains on standard error.
OPEN_CHANNEL = "import grpc; grpc.insecure_channel('unix:///nowhere').close()"


def opened(**variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", OPEN_CHANNEL],
        env={**os.environ, **variables},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stderr


@pytest.mark.parametrize("component", ["image_classification", "object_detection"])
def test_grpc_knows_the_experiments_that_the_recipe_names(component: str) -> None:
    recipe = json.loads((ROOT / "component_src" / component / "recipe.json").read_text(encoding="utf-8"))
    variables = recipe["Manifests"][0]["Lifecycle"]["run"]["Setenv"]
    assert variables["GRPC_EXPERIMENTS"]
    assert opened(**variables) == ""


def test_grpc_complains_about_experiments_that_it_does_not_know() -> None:
    assert "Unknown experiment: event_engine_klient" in opened(GRPC_EXPERIMENTS="-event_engine_klient")
