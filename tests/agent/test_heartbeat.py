# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.heartbeat import messages
from edge_agent.metrics import COUNTERS, ModelMetrics
from edge_agent.models import LoadedModel


class Parameters:
    """What a heartbeat takes of the agent's parameters."""

    device_name = "dev-device-1"
    device_fleet_name = "dev-fleet"


def loaded(handle: str) -> LoadedModel:
    session: Any = None  # a heartbeat does not run it
    return LoadedModel(handle, "../m", "digits", "1.0", "0" * 64, 1, "key.pem", session)


def beat(handles: list[str]) -> list[dict[str, Any]]:
    parameters: Any = Parameters()
    agent = dict.fromkeys(COUNTERS, 1.0)
    made = messages(
        settings=parameters, now=1.5, agent=agent, models=[(loaded(handle), ModelMetrics()) for handle in handles]
    )
    assert all(len(one) <= 7000 for one in made)
    return [json.loads(one) for one in made]


@given(count=st.integers(0, 120), length=st.integers(1, 255))
def test_parts_are_numbered_name_each_model_once_and_the_agents_metrics_once(count: int, length: int) -> None:
    handles = [f"m{index:0{length}d}"[-length:] if length > 4 else f"m{index}" for index in range(count)]
    parts = beat(handles)
    assert [(part["Part"], part["Parts"]) for part in parts] == [(n, len(parts)) for n in range(1, len(parts) + 1)]
    assert [model["ModelHandle"] for part in parts for model in part["Models"]] == handles
    assert [bool(part["AgentMetrics"]) for part in parts] == [True] + [False] * (len(parts) - 1)
    assert {part["Timestamp"] for part in parts} == {1.5}


def test_a_heartbeat_has_no_more_parts_than_a_reader_takes() -> None:
    assert len(beat([f"m{index}" for index in range(1000)])) == 40
