# SPDX-License-Identifier: Apache-2.0
"""The deployment of a release: the same document, whichever stack brings it to whichever group."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import aws_cdk as cdk

from edge_constructs.fleet_deployment import DeployedComponent, FleetDeployment
from edge_constructs.rollout_settings import RolloutSettings
from edge_constructs.signing_key import SigningPublicKeys, alias_arn
from stacks.configuration import open_configuration
from stacks.environment import Environment
from stacks.fleet import log_retention

AGENT = "com.edgemanager.Agent"


def deploy_release(
    stack: cdk.Stack,
    environment: Environment,
    components: Sequence[DeployedComponent],
    *,
    thing_group: str,
    rollout: RolloutSettings,
) -> None:
    """Add the deployment to a stack, and its id as the output `DeploymentId`.

    Args:
        stack: reads the signing keys itself, as nothing that changes crosses stacks as an export.
        environment: whose release it is.
        components: all that devices shall have.
        thing_group: the target's name.
        rollout: its pace and policies.
    """
    if environment.edge_manager == "open":
        components = _trusting(stack, environment, components)
    name = stack.node.id.lower()
    deployment = FleetDeployment(
        stack,
        "Deployment",
        name=f"{environment.namespace}-{name}",
        thing_group=thing_group,
        components=components,
        rollout=rollout,
    )
    cdk.CfnOutput(stack, "DeploymentId", value=deployment.resource.attr_deployment_id)


def _trusting(
    stack: cdk.Stack, environment: Environment, components: Sequence[DeployedComponent]
) -> list[DeployedComponent]:
    """The components, the agent with the public keys that it trusts."""
    keys = SigningPublicKeys(
        stack,
        "SigningPublicKeys",
        keys=[alias_arn(stack, alias) for alias in environment.signing_aliases],
        log_retention=log_retention(environment),
    )
    own = open_configuration(environment, keys.public_keys)
    agent = f"{environment.namespace}.{AGENT}"
    return [
        dataclasses.replace(component, merge={**component.merge, **own}) if component.name == agent else component
        for component in components
    ]
