# SPDX-License-Identifier: Apache-2.0
"""What of the stacks exists on the embedded AWS, and by whose doing."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

# The types of the extension, see local/aws/extension/emulator.py; a test holds the two together.
EMULATED_TYPES = frozenset(
    {"AWS::IoT::RoleAlias", "AWS::GreengrassV2::ComponentVersion", "AWS::GreengrassV2::Deployment"}
)
_EXISTING = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE", "ROLLBACK_COMPLETE")


@dataclasses.dataclass(frozen=True, order=True)
class Resource:
    """One resource of a stack; ``status`` is CloudFormation's, or why there is none."""

    stack: str
    logical_id: str
    type: str
    status: str


@dataclasses.dataclass(frozen=True)
class Inventory:
    """The resources of all stacks by what they are here.

    Attributes:
        deployed: Made by the emulator's own CloudFormation engine and services.
        emulated: Made by the same engine as types that this project adds to it.
        not_deployed: In a template, and not here.
    """

    deployed: Sequence[Resource]
    emulated: Sequence[Resource]
    not_deployed: Sequence[Resource]


def take_inventory(cloudformation: Any, *, assembly: Path | None) -> Inventory:
    """Lists the resources of the stacks of ``assembly``, or else of every deployed stack, the CDK's own too."""
    resources = list(_deployed(cloudformation))
    if assembly is not None:
        planned = list(_planned(assembly))
        stacks = {resource.stack for resource in planned}
        resources = [resource for resource in resources if resource.stack in stacks]
        known = {(resource.stack, resource.logical_id) for resource in resources}
        resources += [resource for resource in planned if (resource.stack, resource.logical_id) not in known]
    existing = sorted(resource for resource in resources if resource.status.endswith(_EXISTING))
    return Inventory(
        deployed=[resource for resource in existing if resource.type not in EMULATED_TYPES],
        emulated=[resource for resource in existing if resource.type in EMULATED_TYPES],
        not_deployed=sorted(resource for resource in resources if not resource.status.endswith(_EXISTING)),
    )


def _deployed(cloudformation: Any) -> Iterator[Resource]:
    for page in cloudformation.get_paginator("describe_stacks").paginate():
        for stack in page["Stacks"]:
            name = stack["StackName"]
            for resources in cloudformation.get_paginator("list_stack_resources").paginate(StackName=name):
                for summary in resources["StackResourceSummaries"]:
                    yield Resource(
                        name, summary["LogicalResourceId"], summary["ResourceType"], summary["ResourceStatus"]
                    )


def _planned(assembly: Path) -> Iterator[Resource]:
    manifest: Mapping[str, Any] = json.loads(assembly.joinpath("manifest.json").read_text(encoding="utf-8"))
    for identifier, artifact in manifest.get("artifacts", {}).items():
        properties = artifact.get("properties", {})
        if artifact["type"] == "cdk:cloud-assembly":
            yield from _planned(assembly / properties["directoryName"])
        elif artifact["type"] == "aws:cloudformation:stack":
            template = json.loads(assembly.joinpath(properties["templateFile"]).read_text(encoding="utf-8"))
            stack = properties.get("stackName", identifier)
            for logical_id, resource in template.get("Resources", {}).items():
                yield Resource(stack, logical_id, resource["Type"], "its stack is not deployed")
