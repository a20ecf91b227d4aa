# SPDX-License-Identifier: Apache-2.0
"""What the functions of a fleet are told by their environment variables; standard library only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class FleetSettings:
    """What every function of a fleet is told.

    Attributes:
        table: the heartbeat table's name.
        namespace: of the metrics.
        fleet: the fleet's name, which is its thing group's too.
        models: names of the declared models.
        parameters: prefix of the parameters that tell what is declared.
    """

    table: str
    namespace: str
    fleet: str
    models: Sequence[str]
    parameters: str


def read_common(variables: Mapping[str, str]) -> dict[str, Any]:
    """The fields of `FleetSettings` by name."""
    return {
        "table": variables["TABLE"],
        "namespace": variables["METRIC_NAMESPACE"],
        "fleet": variables["FLEET"],
        "models": variables["MODELS"].split(),
        "parameters": variables["DECLARED_MODELS"],
    }
