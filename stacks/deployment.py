# SPDX-License-Identifier: Apache-2.0
"""The deployment of a release: the same document, whichever stack brings it to whichever group."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import aws_cdk as cdk

from edge_constructs.fleet_deployment import DeployedComponent, FleetDeployment
from edge_constructs.rollout_settings import RolloutSettings
from edge_constructs.signing_key import SigningPublicKeys, alias_arn
from stacks.configuration import open_configuration
from stacks.environment import Environment
from stacks.log_retention import log_retention

AGENT = "com.edgemanager.Agent"


def read_trust(stack: cdk.Stack, environment: Environment) -> dict[str, str]:
    """What the agents trust, known at deploy time alone; nothing in SageMaker mode.

    Each stack that deploys reads the keys itself, as nothing that changes crosses stacks as an export.
    """
    if environment.edge_manager == "sagemaker":
        return {}
    keys = SigningPublicKeys(
        stack,
        "SigningPublicKeys",
        keys=[alias_arn(stack, alias) for alias in environment.signing_aliases],
        log_retention=log_retention(environment),
    )
    return open_configuration(environment, keys.public_keys)


def deploy_release(
    stack: cdk.Stack,
    environment: Environment,
    components: Sequence[DeployedComponent],
    *,
    trust: Mapping[str, str],
    thing_group: str,
    rollout: RolloutSettings,
) -> None:
    """Add the deployment to a stack, and its id as the output `DeploymentId`.

    Args:
        stack: where; its id is the deployment's name after the namespace.
        environment: whose release it is.
        components: all that devices shall have.
        trust: what our agent trusts, as `read_trust` gives it.
        thing_group: the target's name.
        rollout: its pace and policies.
    """
    agent = f"{environment.namespace}.{AGENT}"
    deployment = FleetDeployment(
        stack,
        "Deployment",
        name=f"{environment.namespace}-{stack.node.id.lower()}",
        thing_group=thing_group,
        components=[
            dataclasses.replace(component, merge={**component.merge, **trust}) if component.name == agent else component
            for component in components
        ],
        rollout=rollout,
    )
    cdk.CfnOutput(stack, "DeploymentId", value=deployment.resource.attr_deployment_id)
