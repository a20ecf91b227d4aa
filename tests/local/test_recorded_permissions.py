# SPDX-License-Identifier: Apache-2.0
"""Least privilege from the record: a whole life of dev on the embedded AWS, and what its roles asked for meanwhile.

A permission is a pair of an action and a resource pattern of an Allow statement. Each is used by a recorded call, or
stands in unrecorded_permissions.toml with the reason why no call of it can be recorded here.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import sys
import tomllib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from local.aws.calls import Call
from local.aws.policies import Decision, Request, Statement, action_matches, decide, resource_matches, statements_of
from local.aws.server import EmbeddedAws
from local.commands import run
from local.demo import evidence
from local.system import ROOT, LocalSystem

DIRECTORY = ROOT / "build" / "permissions"  # the components' virtual environments survive there from run to run
HELD_OUT = ROOT / "models" / "digits" / "held_out"
TABLE = Path(__file__).with_name("unrecorded_permissions.toml")
IMAGES = 12

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform != "linux", reason="the recipes are for Linux"),
]


@dataclasses.dataclass(frozen=True)
class Permission:
    """One action on one resource pattern, allowed to one role."""

    role: str
    action: str
    resource: str

    def used_by(self, call: Call) -> bool:
        return (
            call.action is not None
            and action_matches(self.action, call.action)
            and resource_matches(self.resource, call.resource)
        )


@dataclasses.dataclass(frozen=True)
class Record:
    """What was asked and what is allowed; roles are named ``<stack>/<logical id>``."""

    calls: Mapping[str, Sequence[Call]]
    statements: Mapping[str, Sequence[Statement]]

    def without(self, role: str, index: int) -> Record:
        kept = [statement for i, statement in enumerate(self.statements[role]) if i != index]
        return dataclasses.replace(self, statements={**self.statements, role: kept})


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for path in sorted(HELD_OUT.glob("*.png"))[:IMAGES]:
        shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def record(images: Path) -> Record:
    """Deploy dev, run a pass with captures, destroy dev; the policies are read before they go."""
    overrides = {
        "heartbeat.period_seconds": "5",
        "inference.image_directory": str(images),
        "inference.interval_seconds": "3600",
    }
    with LocalSystem(directory=DIRECTORY, stage="dev", overrides=overrides, notify=lambda _step: None) as system:
        system.synthesise()
        system.deploy()
        roles = roles_of(system.aws, list(stacks_of(system)))
        statements = {name: policies_of(system.aws, role) for name, role in roles.items()}
        assert {name: len(found) for name, found in statements.items()} == templates_of(system)
        evidence.take_census(system, stage="dev")  # the device is awaited
        system.start_device()
        system.wait_until_deployed(timeout=300)
        system.wait_for(
            lambda: len(evidence.read_captures(system).records) == IMAGES, what="captures of one pass", timeout=120
        )
        system.wait_for(
            lambda: evidence.predictions_in_metrics(system, stage="dev", model="digits", version="1.0") == IMAGES,
            what="predictions of one pass in metrics",
            timeout=60,
        )
        evidence.take_census(system, stage="dev")  # and has been heard
        system.stop_device()
        cdk = [str(ROOT / "node_modules" / ".bin" / "cdk"), f"--app={system.assembly.path}"]
        run(
            [*cdk, "destroy", "dev/*", "--force"],
            log=DIRECTORY / "logs" / "cdk-destroy.log",
            environment=system.aws.environment(),
            cwd=ROOT,
            timeout=120,
        )
        calls = system.aws.calls()
    return Record({name: [call for call in calls if call.role == role] for name, role in roles.items()}, statements)


def roles_of(aws: EmbeddedAws, stacks: Sequence[str]) -> dict[str, str]:
    """Every role of the stacks: ``<stack>/<logical id>`` to its name."""
    cloudformation = aws.client("cloudformation")
    return {
        f"{stack}/{resource['LogicalResourceId']}": resource["PhysicalResourceId"]
        for stack in stacks
        for resource in cloudformation.list_stack_resources(StackName=stack)["StackResourceSummaries"]
        if resource["ResourceType"] == "AWS::IAM::Role"
    }


def policies_of(aws: EmbeddedAws, role: str) -> list[Statement]:
    """All statements of a role's policies, inline and managed."""
    iam = aws.client("iam")
    documents = [
        iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]
    ]
    for policy in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
        version = iam.get_policy(PolicyArn=policy["PolicyArn"])["Policy"]["DefaultVersionId"]
        answer = iam.get_policy_version(PolicyArn=policy["PolicyArn"], VersionId=version)
        documents.append(answer["PolicyVersion"]["Document"])
    return [statement for document in documents for statement in statements_of(document)]


def stacks_of(system: LocalSystem) -> dict[str, dict[str, Any]]:
    """The synthesised stacks: name to resources."""
    folder = system.assembly.path / "assembly-dev"
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["artifacts"].values()
    stacks = (item["properties"] for item in manifest if item["type"] == "aws:cloudformation:stack")
    return {
        stack["stackName"]: json.loads((folder / stack["templateFile"]).read_text("utf-8"))["Resources"]
        for stack in stacks
    }


def templates_of(system: LocalSystem) -> dict[str, int]:
    """How many statements the synthesised templates give each role; a managed policy counts as one."""
    counts: dict[str, int] = {}
    for stack, resources in stacks_of(system).items():
        for id_, resource in resources.items():
            if resource["Type"] == "AWS::IAM::Role":
                counts[f"{stack}/{id_}"] = len(resource["Properties"].get("ManagedPolicyArns", ()))
        for policy in (r["Properties"] for r in resources.values() if r["Type"] == "AWS::IAM::Policy"):
            for role in policy["Roles"]:
                counts[f"{stack}/{role['Ref']}"] += len(policy["PolicyDocument"]["Statement"])
    return counts


def permissions(record: Record) -> list[Permission]:
    return [
        Permission(role, action, resource)
        for role, statements in record.statements.items()
        for statement in statements
        if statement["Effect"] == "Allow"
        for action in listed(statement["Action"])
        for resource in listed(statement["Resource"])
    ]


def listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def reasons() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tomllib.loads(TABLE.read_text(encoding="utf-8"))["unrecorded"]
    return found


def excuses(reason: Mapping[str, Any], permission: Permission) -> bool:
    return (
        fnmatchcase(permission.role, reason["role"])
        and permission.action in reason["actions"]
        and fnmatchcase(permission.resource, reason.get("resource", "*"))
    )


def unused(record: Record) -> list[Permission]:
    return [
        permission
        for permission in permissions(record)
        if not any(permission.used_by(call) for call in record.calls[permission.role])
    ]


def denied(record: Record) -> list[tuple[str, Call]]:
    """The recorded calls that the policies of their role do not allow."""
    return [
        (role, call)
        for role, calls in record.calls.items()
        for call in calls
        if decide(record.statements[role], Request(str(call.action), call.resource, call.context)) is not Decision.ALLOW
    ]


def without_use(record: Record, roles: Sequence[str]) -> list[str]:
    """The reasons that excuse nothing of a role that they name, or what is used after all."""
    left = unused(record)
    needed = [
        (f"{role} {action}", [{**reason, "role": role, "actions": [action]}])
        for reason in reasons()
        for action in reason["actions"]
        for role in roles
        if fnmatchcase(role, reason["role"])
    ]
    return [name for name, (reason,) in needed if not any(excuses(reason, permission) for permission in left)]


def test_the_device_and_every_function_was_recorded(record: Record) -> None:
    silent = [role for role, calls in record.calls.items() if not calls]
    # What IoT does happens inside the emulator, and the pipeline's roles are at work in test_verification.py.
    assert [role for role in silent if not re.search("RuleRole|Release(Verifier|Restorer)", role)] == []


def test_every_recorded_call_has_an_action_and_was_let_through(record: Record) -> None:
    assert [call for calls in record.calls.values() for call in calls if call.action is None or not call.allowed] == []


def test_the_synthesised_policies_allow_every_recorded_call(record: Record) -> None:
    assert denied(record) == []


def test_every_permission_is_used_or_has_its_reason(record: Record) -> None:
    table = reasons()
    assert [item for item in unused(record) if not any(excuses(reason, item) for reason in table)] == []


def test_no_reason_is_stale_or_empty(record: Record) -> None:
    assert without_use(record, list(record.statements)) == []
    for reason in reasons():
        assert any(fnmatchcase(role, reason["role"]) for role in record.statements), reason
        assert len(reason["reason"].split()) > 4, reason


def test_any_single_statement_that_is_removed_is_missed(record: Record) -> None:
    """By a recorded call that is denied then, or by a written reason that excuses nothing any more."""
    roles = list(record.statements)
    statements = [(role, index) for role in roles for index in range(len(record.statements[role]))]
    unnoticed = [
        (role, record.statements[role][index])
        for role, index in statements
        for less in [record.without(role, index)]
        if not denied(less) and not without_use(less, roles)
    ]
    assert len(statements) > 15
    assert unnoticed == []


def test_a_call_out_of_bounds_would_be_noticed(record: Record) -> None:
    """The evaluation itself can fail: the same calls on other resources are denied."""
    (device,) = (role for role in record.calls if "TokenExchange" in role)
    moved = [dataclasses.replace(call, resource=f"{call.resource}-elsewhere") for call in record.calls[device]]
    elsewhere = dataclasses.replace(
        record,
        calls={device: [dataclasses.replace(call, resource=call.resource.replace("dev", "prod")) for call in moved]},
    )
    assert len(denied(elsewhere)) == len(moved) > 0
