# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import aws_cdk as cdk
import aws_cdk.aws_greengrassv2 as greengrass
from constructs import Construct

from edge_constructs.greengrass_component import GreengrassComponent


@dataclass(frozen=True, kw_only=True)
class DeployedComponent:
    """A component of a deployment at its version, and the configuration that is merged over its defaults everywhere.

    `resource` is what makes the version, where this app does: the deployment waits for it.
    """

    name: str
    version: str
    merge: Mapping[str, Any] = field(default_factory=dict)
    resource: cdk.CfnResource | None = None

    @classmethod
    def of(cls, component: GreengrassComponent, merge: Mapping[str, Any] | None = None) -> Self:
        """A component of our own."""
        return cls(name=component.name, version=component.version, merge=merge or {}, resource=component.resource)


@dataclass(frozen=True, kw_only=True)
class RolloutPolicy:
    """How fast a deployment reaches devices, and when it stops.

    `maximum_per_minute` devices are told of it; it is cancelled once `abort_percentage` of at least `abort_minimum`
    devices have failed, and a device that is silent for `in_progress_minutes` counts as failed.
    """

    maximum_per_minute: int
    abort_percentage: int
    abort_minimum: int
    in_progress_minutes: int


class FleetDeployment(Construct):
    """The deployment to a thing group: exactly these components, all at pinned versions.

    Any change of it is a new deployment. Configuration is merged explicitly, as changed defaults of a recipe do not
    reach devices that have the component already.

    Args:
        scope: the construct it stands in.
        id_: its id there.
        name: the deployment's name.
        thing_group: the target's name.
        components: all that devices shall have.
        rollout: its pace.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        name: str,
        thing_group: str,
        components: Sequence[DeployedComponent],
        rollout: RolloutPolicy,
    ) -> None:
        super().__init__(scope, id_)
        stack = cdk.Stack.of(self)
        specification = greengrass.CfnDeployment.ComponentDeploymentSpecificationProperty
        self.resource = greengrass.CfnDeployment(
            self,
            "Deployment",
            deployment_name=name,
            target_arn=f"arn:{stack.partition}:iot:{stack.region}:{stack.account}:thinggroup/{thing_group}",
            components={
                deployed.name: specification(
                    component_version=deployed.version, configuration_update=_update(deployed.merge)
                )
                for deployed in components
            },
            iot_job_configuration=_job_configuration(rollout),
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
            if deployed.resource is not None:
                self.resource.add_resource_dependency(deployed.resource)


def _job_configuration(rollout: RolloutPolicy) -> greengrass.CfnDeployment.DeploymentIoTJobConfigurationProperty:
    criterion = greengrass.CfnDeployment.IoTJobAbortCriteriaProperty(
        action="CANCEL",
        failure_type="ALL",
        threshold_percentage=rollout.abort_percentage,
        min_number_of_executed_things=rollout.abort_minimum,
    )
    return greengrass.CfnDeployment.DeploymentIoTJobConfigurationProperty(
        job_executions_rollout_config=greengrass.CfnDeployment.IoTJobExecutionsRolloutConfigProperty(
            maximum_per_minute=rollout.maximum_per_minute
        ),
        abort_config=greengrass.CfnDeployment.IoTJobAbortConfigProperty(criteria_list=[criterion]),
        timeout_config=greengrass.CfnDeployment.IoTJobTimeoutConfigProperty(
            in_progress_timeout_in_minutes=rollout.in_progress_minutes
        ),
    )


def _update(merge: Mapping[str, Any]) -> greengrass.CfnDeployment.ComponentConfigurationUpdateProperty | None:
    if not merge:
        return None
    text = json.dumps(merge, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return greengrass.CfnDeployment.ComponentConfigurationUpdateProperty(merge=text)
