# SPDX-License-Identifier: Apache-2.0
"""Versions outlive their stacks, so that devices and roll-backs find them; this removes what nothing names any more."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from operations.buckets import bucket_exists
from operations.errors import OperationError, tolerating
from operations.greengrass import pages
from operations.last_good import read_last_good
from operations.target import Target

PREFIXES = ("components/", "models/")
_BATCH = 1000  # of DeleteObjects


@dataclass(frozen=True)
class Version:
    """A component version of the namespace."""

    name: str
    version: str
    arn: str
    recipe: Mapping[str, Any]

    @property
    def artifacts(self) -> Iterator[str]:
        """URIs of its artifacts."""
        for manifest in self.recipe.get("Manifests", ()):
            for artifact in manifest.get("Artifacts", ()):
                yield from (str(value) for key, value in artifact.items() if key.lower() == "uri")

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True)
class Plan:
    """What pruning would do.

    Attributes:
        versions: named by no deployment.
        objects: keys in the artifact bucket that no remaining version needs.
        named: versions that stay.
        foreign: versions of the namespace that stay because their artifacts lie elsewhere: not this project's.
    """

    bucket: str
    versions: Sequence[Version]
    objects: Sequence[str]
    named: Sequence[Version]
    foreign: Sequence[Version]

    def lines(self) -> Iterator[str]:
        """The plan for a person."""
        yield f"component versions that deployments name: {len(self.named)} stay"
        for version in self.foreign:
            yield f"  stays {version}: its artifacts do not lie in {self.bucket}"
        yield f"component versions that no deployment names: {len(self.versions)}"
        yield from (f"  delete {version}" for version in self.versions)
        yield f"objects that no remaining version needs: {len(self.objects)}"
        yield from (f"  delete s3://{self.bucket}/{key}" for key in self.objects)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.versions and not self.objects


def prune(target: Target, *, act: bool) -> None:
    """Show what pruning would do, and do it if told.

    Raises:
        RefusedError: another account, or a deployment is under way; nothing was changed.
        OperationError: something could not be deleted.
    """
    target.check_account()
    target.check_idle()
    plan = plan_pruning(target)
    for line in plan.lines():
        target.say(line)
    if plan.empty:
        target.say("nothing to do")
    elif act:
        carry_out(target, plan)
        target.say("done; the bucket keeps deleted objects as former versions for a while, see its lifecycle rules")
    else:
        target.say("nothing was deleted; YES=1 does it")


def plan_pruning(target: Target) -> Plan:
    """Find what nothing names any more.

    A version stays if any deployment of the account names it, active or not, or if one that stays depends on its
    component without the deployment saying which version.
    """
    bucket = target.environment.artifact_bucket
    ours: list[Version] = []
    foreign: list[Version] = []
    for version in _versions(target):
        outside = [uri for uri in version.artifacts if not uri.startswith(f"s3://{bucket}/")]
        (foreign if outside else ours).append(version)
    named = _named(target, ours)
    staying = [version for version in ours if (version.name, version.version) in named]
    needed = {_folder(uri.removeprefix(f"s3://{bucket}/")) for version in staying for uri in version.artifacts}
    needed |= _packaged(target, bucket)
    keys = _keys(target, bucket) if bucket_exists(target, bucket) else []
    return Plan(
        bucket=bucket,
        versions=[version for version in ours if (version.name, version.version) not in named],
        objects=[key for key in keys if _folder(key) not in needed],
        named=staying,
        foreign=foreign,
    )


def _packaged(target: Target, bucket: str) -> set[str]:
    """Folders of the packages that the deployed stacks count as made, whether or not a version names them yet."""
    stacks = target.client("cloudformation").get_paginator("describe_stacks").paginate()
    outputs = [
        output["OutputValue"]
        for page in stacks
        for stack in page["Stacks"]
        if stack["StackName"].startswith(f"{target.environment.namespace}-")
        for output in stack.get("Outputs", [])
    ]
    prefix = f"s3://{bucket}/"
    return {_folder(value.removeprefix(prefix)) for value in outputs if value.startswith(prefix)}


def carry_out(target: Target, plan: Plan) -> None:
    """Delete what a plan names: versions first, then what only they needed.

    Raises:
        OperationError: objects were left.
    """
    greengrass, s3 = target.client("greengrassv2"), target.client("s3")
    for version in plan.versions:
        with tolerating("ResourceNotFoundException"):
            greengrass.delete_component(arn=version.arn)
    for start in range(0, len(plan.objects), _BATCH):
        batch = [{"Key": key} for key in plan.objects[start : start + _BATCH]]
        answer = s3.delete_objects(Bucket=plan.bucket, Delete={"Objects": batch, "Quiet": True})
        if errors := answer.get("Errors"):
            reasons = "; ".join(f"{error['Key']}: {error['Code']} {error['Message']}" for error in errors[:5])
            raise OperationError(f"s3://{plan.bucket}: {len(errors)} objects could not be deleted: {reasons}")


def _versions(target: Target) -> Iterator[Version]:
    client = target.client("greengrassv2")
    for component in pages(client, "list_components", "components", scope="PRIVATE"):
        if not component["componentName"].startswith(f"{target.environment.namespace}."):
            continue
        for item in pages(client, "list_component_versions", "componentVersions", arn=component["arn"]):
            recipe = client.get_component(arn=item["arn"], recipeOutputFormat="JSON")["recipe"]
            yield Version(item["componentName"], item["componentVersion"], item["arn"], json.loads(recipe))


def _named(target: Target, versions: Sequence[Version]) -> AbstractSet[tuple[str, str]]:
    """Name and version of what deployments need, and the last good release."""
    client = target.client("greengrassv2")
    needed: set[tuple[str, str]] = set()
    for summary in pages(client, "list_deployments", "deployments", historyFilter="ALL"):
        deployment = client.get_deployment(deploymentId=summary["deploymentId"])
        named = {name: spec["componentVersion"] for name, spec in deployment.get("components", {}).items()}
        needed |= _closure(named, versions)
    # CloudFormation deletes a deployment that it replaces, and a restore needs what that one named.
    for document in (read_last_good(target) or {}).values():
        named = {name: spec["componentVersion"] for name, spec in document["components"].items()}
        needed |= _closure(named, versions)
    return needed


def _closure(named: Mapping[str, str], versions: Sequence[Version]) -> AbstractSet[tuple[str, str]]:
    """What a deployment names, and every version of what that depends on unnamed: the cloud may choose any."""
    found = set(named.items())
    left = [version for version in versions if (version.name, version.version) in found]
    while left:
        dependencies = left.pop().recipe.get("ComponentDependencies", {})
        for version in versions:
            key = (version.name, version.version)
            if version.name in dependencies and version.name not in named and key not in found:
                found.add(key)
                left.append(version)
    return found


def _keys(target: Target, bucket: str) -> list[str]:
    client = target.client("s3")
    return [
        item["Key"]
        for prefix in PREFIXES
        for item in pages(client, "list_objects_v2", "Contents", Bucket=bucket, Prefix=prefix)
    ]


def _folder(key: str) -> str:
    """What stands beside an artifact, such as its signature, stays with it."""
    return key.rpartition("/")[0]
