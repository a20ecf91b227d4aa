# SPDX-License-Identifier: Apache-2.0
"""The way back: devices first, then certificates, which CloudFormation does not know, stacks, and versions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from operations.cdk import Cdk
from operations.certificates import release_policy, release_thing
from operations.errors import RefusedError, tolerating
from operations.greengrass import core_devices, delete_deployment, deployments_of_group, pages, wait_for_devices
from operations.prune import carry_out, plan_pruning
from operations.signing_aliases import delete_alias_command
from operations.target import PROTECTED, Target

DEVICE_SECONDS = 600.0
_KEPT = {"Retain", "RetainExceptOnCreate", "Snapshot"}


@dataclass(frozen=True, order=True)
class Kept:
    """A resource that outlives its stack; `id` is its physical id."""

    type: str
    id: str


def destroy(
    target: Target,
    *,
    cdk: Cdk,
    confirm: Callable[[str], bool],
    approved: bool,
    force: bool,
    device_seconds: float = DEVICE_SECONDS,
) -> None:
    """Take an environment away.

    Args:
        target: the environment and its account.
        cdk: the CDK CLI.
        confirm: asks a person a question; not asked when approved.
        approved: whether it is wanted without a question, and a protected environment at all.
        force: leave devices as they are that are offline or fail.
        device_seconds: how long devices are waited for.

    Raises:
        RefusedError: it may not be destroyed so; nothing was changed.
        OperationError: it failed on its way; run it again.
    """
    environment = target.environment
    if environment.name in PROTECTED and not approved:
        raise RefusedError(f"{environment.name}: is destroyed with APPROVE=yes only")
    target.check_account()
    target.check_idle()
    former = [name for name in target.former_stack_names if target.stack_status(name) is not None]
    standing = [name for name in target.stack_names if target.stack_status(name) is not None]
    target.say(
        f"{environment.name} in account {environment.account}, {environment.region}: "
        f"stacks {', '.join([*standing, *former]) or 'none'}; devices {', '.join(environment.thing_names)}"
    )
    if not approved and not confirm(f"Type {environment.namespace} to destroy it: "):
        raise RefusedError(f"{environment.name}: not destroyed: {environment.namespace} was not typed")
    kept = sorted(resource for name in standing for resource in _kept(target, name))
    _clear_devices(target, force=force, timeout=device_seconds)
    _release(target, (*former, *standing))
    for name in former:  # first, as it names what the others hold
        target.say(f"deleting {name}, which stands from when there were canaries")
        target.client("cloudformation").delete_stack(StackName=name)
        target.client("cloudformation").get_waiter("stack_delete_complete").wait(StackName=name)
    if standing:
        target.say("destroying the stacks")
        cdk(["destroy", f"{environment.name}/*", "--force"])
    with tolerating("ParameterNotFound"):  # what it names goes with the versions
        target.client("ssm").delete_parameter(Name=environment.last_good_parameter)
    plan = plan_pruning(target)
    for line in plan.lines():
        target.say(line)
    carry_out(target, plan)
    for line in _farewell(kept, environment.region):
        target.say(line)


def _clear_devices(target: Target, *, force: bool, timeout: float) -> None:
    """Deploy no components, so that devices stop what they run, and wait for them."""
    client = target.client("greengrassv2")
    name = f"{target.environment.namespace}-destroy"
    created = {
        arn: client.create_deployment(targetArn=arn, deploymentName=name, components={})["deploymentId"]
        for arn in target.group_arns
    }
    if not created:
        return
    if force:
        target.say("devices are told to remove their components; not waiting for them")
    else:
        target.say(f"waiting for devices to remove their components, {timeout:g} s at the most")
        wait_for_devices(target, created, timeout=timeout)
    for thing in (thing for arn in created for thing in core_devices(target, arn)):
        with tolerating("ResourceNotFoundException"):
            client.delete_core_device(coreDeviceThingName=thing)
    # Also superseded ones: their group goes, and the versions that they name must be free.
    for deployment_id in (id_ for arn in created for id_ in deployments_of_group(target, arn)):
        delete_deployment(target, deployment_id)


def _release(target: Target, stacks: Sequence[str]) -> None:
    """Take certificates off things and policy: as long as one is attached, neither can be deleted.

    Also off things that stand in the stacks alone, because their device left the environment's file since.
    """
    environment = target.environment
    listed = [item for stack in stacks for item in _resources(target, stack)]
    standing = [item["PhysicalResourceId"] for item in listed if item["ResourceType"] == "AWS::IoT::Thing"]
    for thing in dict.fromkeys((*environment.thing_names, *standing)):
        for certificate in release_thing(target, thing):
            target.say(f"  {thing}: certificate {certificate[:12]}… is deleted")
    for certificate in release_policy(target, environment.device_policy):
        target.say(f"  {environment.device_policy}: is detached from {certificate}")


def _kept(target: Target, stack: str) -> list[Kept]:
    """What CloudFormation will leave when a stack goes, but for component versions, which are pruned."""
    client = target.client("cloudformation")
    body = client.get_template(StackName=stack)["TemplateBody"]
    template: Mapping[str, Any] = body if isinstance(body, Mapping) else json.loads(body)
    retained = {
        id_
        for id_, resource in template["Resources"].items()
        if resource.get("DeletionPolicy") in _KEPT and resource["Type"] != "AWS::GreengrassV2::ComponentVersion"
    }
    return [
        Kept(item["ResourceType"], item["PhysicalResourceId"])
        for item in _resources(target, stack)
        if item["LogicalResourceId"] in retained
    ]


def _resources(target: Target, stack: str) -> list[Mapping[str, Any]]:
    """A stack's resources that were made."""
    client = target.client("cloudformation")
    summaries = pages(client, "list_stack_resources", "StackResourceSummaries", StackName=stack)
    return [item for item in summaries if item.get("PhysicalResourceId")]


def _farewell(kept: list[Kept], region: str) -> list[str]:
    if not kept:
        return ["destroyed; nothing was kept"]
    lines = ["destroyed; kept, because they hold data or sign packages:"]
    lines += [f"  {resource.type}  {resource.id}" for resource in kept]
    if aliases := [resource.id for resource in kept if resource.type == "AWS::KMS::Alias"]:
        lines.append(
            "The next deploy cannot make an alias that is there, and tells how to keep its key. For a new key:"
        )
        lines += [f"  {delete_alias_command(alias, region)}" for alias in aliases]
    if buckets := [resource.id for resource in kept if resource.type == "AWS::S3::Bucket"]:
        lines.append("The next deploy takes buckets back as they are. To be rid of one with all it holds, for good:")
        lines += [
            f'  .venv/bin/python -c \'import boto3; b = boto3.resource("s3").Bucket("{name}"); '
            "b.object_versions.delete(); b.delete()'"
            for name in buckets
        ]
    return lines
