# SPDX-License-Identifier: Apache-2.0
"""What changes in one environment."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from change_report.cost import CostMove, Prices, cost_move
from change_report.engine import EngineDiff, compare
from change_report.guards import changed_powers
from change_report.leaves import Leaf, differing
from change_report.permissions import PermissionChange, compare_permissions
from change_report.resources import DEPLOYMENT, ResourceChange, resource_changes
from change_report.sides import Settings, Side
from change_report.statements import Templates, collect
from change_report.usage import monthly_usage

Status = Literal["new", "removed", "changed", "unchanged"]
PIPELINE = ""
"""The name of what belongs to no environment."""

_ALARMS = ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")
# Keys that say nothing in a path that stands below a title.
_ENVELOPE = ("Components", "ConfigurationUpdate", "Merge", "IotJobConfiguration", "DeploymentPolicies")


@dataclass(frozen=True, kw_only=True)
class EnvironmentChange:
    """One environment's changes.

    Attributes:
        name: the environment's; "" for what belongs to none, as the delivery pipeline.
        namespace: what its resources' names start with.
        like: of a new environment, the one whose permissions its own were held against.
        resources: what CloudFormation will do, but for deployments and alarms, which stand below.
        others: outputs, parameters and the like that differ, by stack.
        deployment: components' versions and configuration on the devices, by deployment.
        rollout: pace, criteria and policies of deployments, by deployment.
        alarms: each alarm that differs.
        settings: of the environment's file, with defaults.
        permissions: what is allowed more or less.
        cost: the estimate.
    """

    name: str
    namespace: str
    status: Status
    like: str
    resources: tuple[ResourceChange, ...]
    others: tuple[str, ...]
    deployment: tuple[Leaf, ...]
    rollout: tuple[Leaf, ...]
    alarms: tuple[Leaf, ...]
    settings: tuple[Leaf, ...]
    permissions: tuple[PermissionChange, ...]
    cost: CostMove

    @property
    def title(self) -> str:
        """For people."""
        return self.name or "pipeline"

    def anonymous(self, text: str) -> str:
        """A text about it without its own names, to be held against another environment's."""
        for name in {self.name, self.namespace} - {""}:
            text = re.sub(rf"\b{re.escape(name)}\b", "<environment>", text)
        return text

    def counts(self) -> dict[str, int]:
        """How many resources are added, changed and so on."""
        return dict(Counter(resource.action for resource in self.resources))


def environment_changes(before: Side, after: Side, prices: Prices) -> list[EnvironmentChange]:
    """Every environment of either side, those of today first.

    Raises:
        ReportError: the diff engine is missing or failed.
    """
    names = list(dict.fromkeys([*after.environments, *before.environments]))
    if PIPELINE in before.templates or PIPELINE in after.templates:
        names.append(PIPELINE)
    stacks = [
        (name, stack)
        for name in names
        for stack in dict.fromkeys([*after.templates.get(name, {}), *before.templates.get(name, {})])
    ]
    pairs = [(_template(before, name, stack), _template(after, name, stack)) for name, stack in stacks]
    diffs: dict[str, dict[str, EngineDiff]] = {name: {} for name in names}
    for (name, stack), diff in zip(stacks, compare(pairs), strict=True):
        diffs[name][stack] = diff
    return [_environment(name, before, after, diffs[name], prices) for name in names]


def _environment(
    name: str, before: Side, after: Side, diffs: Mapping[str, EngineDiff], prices: Prices
) -> EnvironmentChange:
    former, latter = before.templates.get(name, {}), after.templates.get(name, {})
    status: Status = "changed"
    if not former or not latter:
        status = "removed" if former else "new"
    resources = [
        change
        for stack, diff in diffs.items()
        for change in resource_changes(stack, diff, former.get(stack, {}), latter.get(stack, {}))
    ]
    like, comparable = _like(name, before, after) if status == "new" and name else ("", former)
    permissions = compare_permissions(collect(comparable), collect(latter), _ids(comparable) - _ids(latter))
    permissions += changed_powers(comparable, latter)
    if status == "new":  # what the other environment may beyond it is no news
        permissions = [change for change in permissions if change.direction == "widened"]
    else:
        permissions += _unread(diffs, permissions)
    permissions += [change for stack, diff in diffs.items() for change in _rules(stack, diff)]
    deployments = [change for change in resources if change.type == DEPLOYMENT]
    settings: list[Leaf] = []
    if status == "changed":
        settings = list(differing(*_settings(name, before, after)))
    if not (resources or settings or permissions or any(diff.others for diff in diffs.values())):
        status = "unchanged"
    return EnvironmentChange(
        name=name,
        namespace=str({**before.environments, **after.environments}.get(name, {}).get("namespace", name)),
        status=status,
        like=like,
        resources=tuple(change for change in resources if change.type not in (*_ALARMS, DEPLOYMENT)),
        others=tuple(
            f"{stack}: {kind} {', '.join(names)}"
            for stack, diff in diffs.items()
            for kind, names in diff.others.items()
        ),
        deployment=tuple(_moves(deployments, pace=False)),
        rollout=tuple(_moves(deployments, pace=True)),
        alarms=tuple(_alarms(resources)),
        settings=tuple(settings),
        permissions=tuple(permissions),
        cost=_cost(name, before, after, prices),
    )


def _like(name: str, before: Side, after: Side) -> tuple[str, Templates]:
    """The environment that a new one resembles most, as its templates would be under the new one's names.

    What the new one may do beyond it is what a reviewer has not seen before.
    """
    ids = _ids(after.templates[name])
    others = [other for other in before.templates if other and other in after.environments]
    if not others:
        return "", {}
    like = max(
        others, key=lambda other: len(ids & _ids(before.templates[other])) / len(ids | _ids(before.templates[other]))
    )
    # Fewer ids in common only means that more counts as new.
    places = {
        before.environments[like].get(key, like): after.environments[name].get(key, name)
        for key in ("namespace", "account", "region")
    }
    text = json.dumps(before.templates[like])
    for former, latter in places.items():
        text = re.sub(rf"\b{re.escape(former)}\b", latter, text)
    renamed: Templates = json.loads(text)
    return like, renamed


def _settings(name: str, before: Side, after: Side) -> tuple[Settings, Settings]:
    """With defaults; as they are written, where BASE's keys are not today's and its defaults are not known."""
    if name in before.environments and name not in before.unchecked:
        return before.environments[name], after.environments.get(name, {})
    return before.written.get(name, {}), after.written.get(name, {})


def _ids(templates: Templates) -> set[str]:
    return {id_ for template in templates.values() for id_ in template.get("Resources", {})}


def _unread(diffs: Mapping[str, EngineDiff], found: Iterable[PermissionChange]) -> list[PermissionChange]:
    """What the engine calls a change of permissions, and this report could not read as one: never passed over."""
    read = {change.stack for change in found}
    return [
        PermissionChange(
            direction="widened",
            holder=stack,
            stack=stack,
            text="the CDK's diff sees other permissions in this stack that allow the same or are not known here: "
            "look at `cdk diff`",
        )
        for stack, diff in diffs.items()
        if diff.iam and stack not in read and not _all_compared(diff)
    ]


def _all_compared(diff: EngineDiff) -> bool:
    """Whether every resource that changed is of a kind whose statements are compared here."""
    compared = ("AWS::IAM::", "AWS::Lambda::", "AWS::S3::", "AWS::SQS::", "AWS::SNS::", "AWS::KMS::", "AWS::IoT::")
    return all(resource.type.startswith((*compared, "Custom::")) for resource in diff.resources)


def _rules(stack: str, diff: EngineDiff) -> Iterable[PermissionChange]:
    """Rules of security groups: what comes is widened, what goes is narrowed."""
    for key, rules in diff.rules.items():
        way = "in" if key.startswith("ingress") else "out"
        for rule in rules:
            yield PermissionChange(
                direction="widened" if key.endswith("Additions") else "narrowed",
                holder=str(rule.get("groupId", "security group")),
                stack=stack,
                text=f"network {way}: {json.dumps(rule, sort_keys=True)}",
            )


def _moves(deployments: Iterable[ResourceChange], *, pace: bool) -> Iterable[Leaf]:
    for change in deployments:
        if change.action in {"added", "removed"} and not pace:
            told = change.name or change.id
            added = change.action == "added"
            yield Leaf(path=(change.stack, told), before=None if added else "deployed", after=change.action)
        for leaf in change.leaves:
            if leaf.path[0] in {"DependsOn", "Type"} or (change.action == "added" and not pace):
                continue
            if (leaf.path[0] != "Components") == pace:
                path = tuple(key for key in leaf.path if key not in _ENVELOPE)
                yield dataclasses.replace(leaf, path=(change.stack, *path))


def _alarms(resources: Iterable[ResourceChange]) -> Iterable[Leaf]:
    for change in resources:
        if change.type in _ALARMS:
            name = change.name or change.id
            for leaf in change.leaves:
                yield dataclasses.replace(leaf, path=(name, *leaf.path))
            if not change.leaves:
                added = change.action == "added"
                told = change.description or "no description"
                yield Leaf(path=(name,), before=None if added else told, after=told if added else None)


def _cost(name: str, before: Side, after: Side, prices: Prices) -> CostMove:
    def usage(side: Side) -> dict[str, float]:
        if name not in side.templates:
            return {}
        return monthly_usage(side.environments.get(name, {}), side.templates[name], prices.assumptions)

    return cost_move(prices, usage(before), usage(after))


def _template(side: Side, name: str, stack: str) -> Mapping[str, Any]:
    return side.templates.get(name, {}).get(stack, {})
