# SPDX-License-Identifier: Apache-2.0
"""The CDK's own diff engine, run with the pinned Node: which resources change, and how CloudFormation will do it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from change_report.errors import ReportError

_SCRIPT = Path(__file__).with_name("engine.cjs")
_SECONDS = 60

Template = Mapping[str, Any]
Impact = Literal[
    "WILL_UPDATE",
    "WILL_CREATE",
    "WILL_REPLACE",
    "MAY_REPLACE",
    "WILL_DESTROY",
    "WILL_ORPHAN",
    "WILL_IMPORT",
    "NO_CHANGE",
]


@dataclass(frozen=True, kw_only=True)
class EngineResource:
    """A resource that differs: what CloudFormation will do with it and, by property, why."""

    id: str
    type: str
    impact: Impact
    impacts: Mapping[str, Impact]
    stateful: bool


@dataclass(frozen=True, kw_only=True)
class EngineDiff:
    """One stack: its resources, names of other things that differ, whether IAM does, security groups' rules."""

    resources: tuple[EngineResource, ...]
    others: Mapping[str, tuple[str, ...]]
    iam: bool
    rules: Mapping[str, Any]


def compare(pairs: Sequence[tuple[Template, Template]]) -> list[EngineDiff]:
    """What differs between each pair of templates, former and new.

    Raises:
        ReportError: Node or the engine is missing, or failed.
    """
    node = os.environ.get("JSII_NODE") or shutil.which("node")
    if node is None:
        raise ReportError("Node is expected for the diff engine, there is none: run `make setup`")
    given = json.dumps([{"before": before, "after": after} for before, after in pairs])
    try:
        done = subprocess.run(  # noqa: S603 -- our own script
            [node, str(_SCRIPT)], input=given, check=True, capture_output=True, text=True, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ReportError(f"the diff engine did not run with {node}: {error}: run `make setup`") from error
    except subprocess.CalledProcessError as error:
        missing = "Cannot find module" in error.stderr
        remedy = "run `make setup`, which installs it from package-lock.json" if missing else "this is a fault of it"
        reason = next((line for line in error.stderr.splitlines() if "Error" in line), error.stderr.strip()[-500:])
        raise ReportError(f"the diff engine failed: {reason}: {remedy}") from error
    return TypeAdapter(list[EngineDiff]).validate_json(done.stdout)
