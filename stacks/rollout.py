# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import aws_cdk as cdk
from constructs import Construct

from edge_constructs.fleet_deployment import DeployedComponent
from stacks.deployment import deploy_release, read_trust
from stacks.environment import Environment


class RolloutStack(cdk.Stack):
    """A release's deployment to the fleet, once it was verified on the canaries.

    It makes no versions, and names those of the Release stack as literals: they outlive their replacement, so that
    either deployment may return to what it named before.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        environment: Environment,
        components: Sequence[DeployedComponent],
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, id_, **kwargs)
        deploy_release(
            self,
            environment,
            [dataclasses.replace(component, resource=None) for component in components],
            trust=read_trust(self, environment),
            thing_group=environment.thing_group,
            rollout=environment.rollout,
        )
