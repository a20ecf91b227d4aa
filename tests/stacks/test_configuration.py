# SPDX-License-Identifier: Apache-2.0
"""What an environment's settings become on a device."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

from stacks.configuration import agent_configuration, open_configuration
from stacks.environment import load_environment
from stacks.environment.tables import AgentParameter
from tests.stacks.minimal import MINIMAL

RECIPE = Path(__file__).parents[2] / "component_src/agent/recipe.json"


def test_the_agents_own_parameters_travel_as_text(tmp_path: Path) -> None:
    path = tmp_path / "test.toml"
    own = '[agent.parameters]\nMaxModels = 3\nCaptureDataDropOldest = true\nUnixSocketGroup = "cameras"\n'
    path.write_text(MINIMAL + own, encoding="utf-8")
    merged = open_configuration(load_environment(path), [])
    assert merged["MaxModels"] == "3"
    assert merged["CaptureDataDropOldest"] == "true"
    assert merged["UnixSocketGroup"] == "cameras"


def test_every_parameter_of_the_agent_can_be_set_in_one_way(tmp_path: Path) -> None:
    path = tmp_path / "test.toml"
    blank = '[agent]\ndlr_backend_options = "a=b"\nlocal_data_root_path = "/a"\n[capture]\ndisk_path = "/b"\n'
    path.write_text(MINIMAL + blank, encoding="utf-8")
    environment = load_environment(path)
    elsewhere = {*agent_configuration(environment), *open_configuration(environment, [])}
    recipe = json.loads(RECIPE.read_text(encoding="utf-8"))
    # What the agent may publish on is granted with the topic, by the recipe.
    every = set(recipe["ComponentConfiguration"]["DefaultConfiguration"]) - {"accessControl", "HeartbeatTopic"}
    assert set(get_args(AgentParameter)) == every - elsewhere
