# SPDX-License-Identifier: Apache-2.0
"""What an environment's stacks declare, as they are deployed: verification holds devices against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from botocore.exceptions import ClientError

from edge_constructs.model_folder import load_model_folder
from operations.documents import Document, document_of
from operations.errors import RefusedError, code_of
from operations.target import ROOT, Target

RELEASE, ROLLOUT, MODELS = "Release", "Rollout", "Models"


@dataclass(frozen=True)
class Group:
    """A thing group of an environment, the things in it, and the stack that deploys to it."""

    name: str
    things: Sequence[str]
    stack: str


@dataclass(frozen=True)
class Declared:
    """What a group's devices shall run.

    Attributes:
        deployment_id: of the deployment that the stack made.
        versions: component to version.
        digests: model to the digest of its package.
        active: whether no other deployment took the group over since.
        status: Greengrass's status of the deployment, such as ACTIVE or CANCELED.
    """

    group: Group
    deployment_id: str
    document: Document
    digests: Mapping[str, str]
    active: bool
    status: str

    @property
    def versions(self) -> Mapping[str, str]:
        """Component to its declared version."""
        return {name: str(item["componentVersion"]) for name, item in self.document["components"].items()}


def groups_of(target: Target) -> list[Group]:
    """The environment's groups in the order in which a release reaches them."""
    environment, prefix = target.environment, target.environment.namespace
    if not environment.canaries:
        return [Group(environment.thing_group, environment.thing_names, f"{prefix}-{RELEASE}")]
    return [
        Group(environment.canary_group, environment.canary_things, f"{prefix}-{RELEASE}"),
        Group(environment.thing_group, environment.fleet_things, f"{prefix}-{ROLLOUT}"),
    ]


def declared(target: Target, group: Group) -> Declared:
    """Read what is declared for a group.

    Raises:
        RefusedError: its stacks are not deployed, or the deployment was deleted by hand.
    """
    deployment_id = _output(target, group.stack, "DeploymentId")
    try:
        deployment = target.client("greengrassv2").get_deployment(deploymentId=deployment_id)
    except ClientError as error:
        if code_of(error) != "ResourceNotFoundException":
            raise
        raise RefusedError(
            f"{group.name}: stack {group.stack} declares deployment {deployment_id}, which does not exist any more: "
            "deploy a release with a change, so that CloudFormation makes another one"
        ) from error
    return Declared(
        group=group,
        deployment_id=deployment_id,
        document=document_of(deployment),
        digests=_digests(target),
        active=bool(deployment["isLatestForTarget"]),
        status=str(deployment["deploymentStatus"]),
    )


def again(target: Target, release: Declared) -> Declared:
    """The same with what has become of its deployment meanwhile; one that was deleted is not active."""
    try:
        deployment = target.client("greengrassv2").get_deployment(deploymentId=release.deployment_id)
    except ClientError as error:
        if code_of(error) != "ResourceNotFoundException":
            raise
        return replace(release, active=False)
    return replace(release, active=bool(deployment["isLatestForTarget"]), status=str(deployment["deploymentStatus"]))


def _digests(target: Target) -> dict[str, str]:
    """Model to declared digest: the Models stack's outputs, the first model's without its name."""
    environment = target.environment
    if environment.edge_manager != "open":
        raise RefusedError(
            f'{environment.name}: edge_manager = "open" is expected, got "{environment.edge_manager}": nothing of that '
            "can be deployed any more, so there is nothing to verify"
        )
    stack = f"{environment.namespace}-{MODELS}"
    found = {_model_name(environment.inference.model): _output(target, stack, "ModelDigest")}
    if environment.detection is not None:
        name = _model_name(environment.detection.model)
        found[name] = _output(target, stack, f"ModelDigest{name.capitalize()}")
    return found


def _model_name(folder: str) -> str:
    return load_model_folder(ROOT / "models" / folder).name


def _output(target: Target, stack: str, key: str) -> str:
    outputs = target.stack_outputs(stack)
    if key not in outputs:
        reason = "is not deployed" if not outputs else f"has no output {key}"
        raise RefusedError(f"{target.environment.name}: stack {stack} {reason}: run `make deploy` first")
    return outputs[key]
