# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aws_cdk as cdk
import aws_cdk.aws_greengrassv2 as greengrass
from constructs import Construct

from edge_constructs.greengrass_component import GreengrassComponent


@dataclass(frozen=True, kw_only=True)
class DeployedComponent:
    """A component of a deployment, and the configuration that is merged over its defaults on every device."""

    component: GreengrassComponent
    merge: Mapping[str, Any] = field(default_factory=dict)


class FleetDeployment(Construct):
    """The deployment to a thing group: exactly these components, all at pinned versions.

    Any change of it is a new deployment. Configuration is merged explicitly, as changed defaults of a recipe do not
    reach devices that have the component already.

    Args:
        scope: the construct it stands in.
        id_: its id there.
        name: the deployment's name.
        thing_group: the target's name.
        components: our own components.
        public_components: public component to version.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        name: str,
        thing_group: str,
        components: list[DeployedComponent],
        public_components: Mapping[str, str],
    ) -> None:
        super().__init__(scope, id_)
        stack = cdk.Stack.of(self)
        specification = greengrass.CfnDeployment.ComponentDeploymentSpecificationProperty
        pinned = {name: specification(component_version=version) for name, version in public_components.items()}
        self.resource = greengrass.CfnDeployment(
            self,
            "Deployment",
            deployment_name=name,
            target_arn=f"arn:{stack.partition}:iot:{stack.region}:{stack.account}:thinggroup/{thing_group}",
            components=pinned
            | {
                deployed.component.name: specification(
                    component_version=deployed.component.version, configuration_update=_update(deployed.merge)
                )
                for deployed in components
            },
            deployment_policies=greengrass.CfnDeployment.DeploymentPoliciesProperty(
                failure_handling_policy="ROLLBACK",
                component_update_policy=greengrass.CfnDeployment.DeploymentComponentUpdatePolicyProperty(
                    action="NOTIFY_COMPONENTS", timeout_in_seconds=60
                ),
                configuration_validation_policy=greengrass.CfnDeployment.DeploymentConfigurationValidationPolicyProperty(
                    timeout_in_seconds=60
                ),
            ),
        )
        for deployed in components:
            self.resource.add_resource_dependency(deployed.component.resource)


def _update(merge: Mapping[str, Any]) -> greengrass.CfnDeployment.ComponentConfigurationUpdateProperty | None:
    if not merge:
        return None
    text = json.dumps(merge, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return greengrass.CfnDeployment.ComponentConfigurationUpdateProperty(merge=text)
