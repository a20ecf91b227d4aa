# SPDX-License-Identifier: Apache-2.0
"""Resources that are added, changed, replaced or removed: the engine's findings in a reviewer's words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from change_report.engine import EngineDiff, EngineResource
from change_report.leaves import Leaf, differing
from change_report.statements import without_hash

Action = Literal["added", "changed", "replaced", "may be replaced", "removed", "kept, but no longer managed"]
_ACTIONS: dict[str, Action] = {
    "WILL_CREATE": "added",
    "WILL_IMPORT": "added",
    "WILL_UPDATE": "changed",
    "NO_CHANGE": "changed",
    "WILL_REPLACE": "replaced",
    "MAY_REPLACE": "may be replaced",
    "WILL_DESTROY": "removed",
    "WILL_ORPHAN": "kept, but no longer managed",
}
DEPLOYMENT = "AWS::GreengrassV2::Deployment"
# What is lost with a resource, beside those that the engine's model of CloudFormation calls stateful.
_HOLDS = {
    "AWS::IoT::Policy": "certificates are attached to it by name",
    "AWS::IoT::RoleAlias": "devices take their credentials through it by name",
    "AWS::IoT::Thing": "the device's certificate is attached to it",
    "AWS::IoT::ThingGroup": "deployments reach devices through it",
    "AWS::SageMaker::Device": "the device is registered as it",
    "AWS::SageMaker::DeviceFleet": "devices are registered in it",
    "AWS::SNS::Topic": "subscriptions are to it",
    "AWS::S3::Bucket": "its objects stay where they are",
    "AWS::KMS::Key": "what it signed or encrypted needs it",
    "AWS::DynamoDB::Table": "its items stay where they are",
}
# What expires by itself is no state to lose.
_EXPIRES = ("AWS::Logs::LogGroup",)
_NAMES = re.compile(r"^(?!.*Policy).*Name$|^RoleAlias$")


@dataclass(frozen=True, kw_only=True)
class ResourceChange:
    """One resource. `state` says what is lost with it, if anything; `kept` that CloudFormation leaves the former."""

    stack: str
    id: str
    name: str
    type: str
    action: Action
    state: str
    kept: bool
    description: str
    leaves: tuple[Leaf, ...]

    @property
    def title(self) -> str:
        """For people: `S3 Bucket Captures (sagemaker-dev-captures)`."""
        kind = " ".join(self.type.removeprefix("AWS::").split("::"))
        return f"{kind} {self.id}" + (f" ({self.name})" if self.name else "")


def resource_changes(
    stack: str, diff: EngineDiff, before: Mapping[str, Any], after: Mapping[str, Any]
) -> list[ResourceChange]:
    """The engine's findings on one stack, with what differs in each resource."""
    return [_change(stack, found, _resource(before, found.id), _resource(after, found.id)) for found in diff.resources]


def _change(stack: str, found: EngineResource, before: Mapping[str, Any], after: Mapping[str, Any]) -> ResourceChange:
    whole = found.type == DEPLOYMENT and after  # its pace is told of when it is new, too
    leaves = _leaves(before, after) if (before and after) or whole else []
    state = _HOLDS.get(found.type, "it holds data" if found.stateful and found.type not in _EXPIRES else "")
    policy = "DeletionPolicy" if not after else "UpdateReplacePolicy"
    properties = (before or after).get("Properties", {})
    return ResourceChange(
        stack=stack,
        id=without_hash(found.id),
        name=next(
            (str(value) for key, value in properties.items() if _NAMES.match(key) and isinstance(value, str)), ""
        ),
        type=found.type,
        action=_ACTIONS[found.impact],
        state=state,
        kept=str(before.get(policy, "Delete")).startswith("Retain"),
        description=str(properties.get("AlarmDescription", properties.get("Description", ""))),
        leaves=tuple(leaves),
    )


def _leaves(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Leaf]:
    properties = list(differing(before.get("Properties", {}), after.get("Properties", {})))
    others = [
        leaf
        for key in sorted((before.keys() | after.keys()) - {"Properties"})
        for leaf in differing(before.get(key), after.get(key), (key,))
    ]
    return _without_policies([*properties, *others])


def _without_policies(leaves: list[Leaf]) -> list[Leaf]:
    """Policies are told of statement by statement elsewhere: one leaf stands for all of a document's."""
    kept: dict[tuple[str, ...], Leaf] = {}
    for leaf in leaves:
        at = next((i for i, key in enumerate(leaf.path) if key.endswith(("PolicyDocument", "KeyPolicy"))), None)
        path = leaf.path if at is None else leaf.path[: at + 1]
        kept.setdefault(path, leaf if at is None else Leaf(path=path, before="", after="see permissions"))
    return list(kept.values())


def _resource(template: Mapping[str, Any], id_: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = template.get("Resources", {}).get(id_, {})
    return found
