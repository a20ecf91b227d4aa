# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest

from edge_constructs.acknowledge import acknowledge
from stacks.application import build_app
from stacks.snapshots import FOLDERS


def report(outdir: Path) -> dict[str, Any]:
    reports = json.loads((outdir / "validation-report.json").read_text())["pluginReports"]
    # The other one, if any, tells of the warnings of our own.
    (plugin,) = (plugin for plugin in reports if plugin["pluginName"].startswith("AwsSolutions"))
    return dict(plugin)


def test_nothing_is_left_to_acknowledge_and_every_reason_is_in_the_report(assembly: Path) -> None:
    found = report(assembly)
    assert found["violations"] == []
    assert all(len(violation["reason"]) > 20 for violation in found["suppressedViolations"])


def test_no_acknowledgement_is_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: set[tuple[str, str]] = set()
    take = cdk.Validations.of

    class Recorded:
        def __init__(self, scope: Any) -> None:
            self.scope = scope

        def acknowledge(self, acknowledgment: Any) -> None:
            given.add((self.scope.node.path, acknowledgment.id))
            take(self.scope).acknowledge(acknowledgment)

        def add_plugins(self, plugin: Any) -> None:
            take(self.scope).add_plugins(plugin)

    monkeypatch.setattr(cdk.Validations, "of", Recorded)
    build_app(outdir=str(tmp_path / "cdk.out"), folders=FOLDERS).synth()
    used = {(v["acknowledgedAt"], v["acknowledgedId"]) for v in report(tmp_path / "cdk.out")["suppressedViolations"]}
    assert given
    assert given - used == set(), "acknowledged, but found nowhere: remove it"


@pytest.mark.parametrize("reason", ["", "ok.", "False positive", "A sentence that does not end"])
def test_a_reason_that_is_no_sentence_is_refused(reason: str) -> None:
    with pytest.raises(ValueError, match="must be a sentence"):
        acknowledge(cdk.Stack(cdk.App(), "S"), rule="AwsSolutions-S1", reason=reason)
