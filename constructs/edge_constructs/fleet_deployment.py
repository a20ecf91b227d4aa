# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import aws_cdk as cdk
import aws_cdk.aws_greengrassv2 as greengrass
from constructs import Construct

from edge_constructs.arns import regional_arn
from edge_constructs.greengrass_component import GreengrassComponent
from edge_constructs.rollout_settings import ExponentialRate, RolloutSettings

# A reset comes before the merge, on both nuclei: what the deployment does not say is the recipe's default again.
EVERYTHING = ("",)


@dataclass(frozen=True, kw_only=True)
class DeployedComponent:
    """A component of a deployment at its version, and its configuration on every device.

    Attributes:
        merge: laid over what the device has after `reset`.
        reset: JSON pointers to what goes back to the recipe's defaults first; "" is everything. Not for AWS's own
            components: the nucleus keeps there how it reaches the cloud.
        resource: what makes the version, where this app does: the deployment waits for it.
    """

    name: str
    version: str
    merge: Mapping[str, Any] = field(default_factory=dict)
    reset: Sequence[str] = ()
    resource: cdk.CfnResource | None = None

    @classmethod
    def of(cls, component: GreengrassComponent, merge: Mapping[str, Any] | None = None) -> Self:
        """A component of our own, whose configuration is this deployment's alone."""
        return cls(
            name=component.name,
            version=component.version,
            merge=merge or {},
            reset=EVERYTHING,
            resource=component.resource,
        )


class FleetDeployment(Construct):
    """The deployment to a thing group: exactly these components, all at pinned versions.

    Any change of it is a new deployment. Configuration is reset and merged explicitly: without a reset, neither a
    changed default of a recipe nor the end of a setting reaches devices that have the component already.

    Args:
        scope: the construct it stands in.
        id_: its id there.
        name: the deployment's name.
        thing_group: the target's name.
        components: all that devices shall have.
        rollout: its pace and policies.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        name: str,
        thing_group: str,
        components: Sequence[DeployedComponent],
        rollout: RolloutSettings,
    ) -> None:
        super().__init__(scope, id_)
        specification = greengrass.CfnDeployment.ComponentDeploymentSpecificationProperty
        self.resource = greengrass.CfnDeployment(
            self,
            "Deployment",
            deployment_name=name,
            target_arn=regional_arn(self, "iot", f"thinggroup/{thing_group}"),
            components={
                deployed.name: specification(component_version=deployed.version, configuration_update=_update(deployed))
                for deployed in components
            },
            iot_job_configuration=_job_configuration(rollout),
            deployment_policies=greengrass.CfnDeployment.DeploymentPoliciesProperty(
                failure_handling_policy=rollout.failure_handling,
                component_update_policy=greengrass.CfnDeployment.DeploymentComponentUpdatePolicyProperty(
                    action=rollout.update_action, timeout_in_seconds=rollout.update_timeout_seconds
                ),
                configuration_validation_policy=greengrass.CfnDeployment.DeploymentConfigurationValidationPolicyProperty(
                    timeout_in_seconds=60
                ),
            ),
        )
        for deployed in components:
            if deployed.resource is not None:
                self.resource.add_resource_dependency(deployed.resource)


def _job_configuration(rollout: RolloutSettings) -> greengrass.CfnDeployment.DeploymentIoTJobConfigurationProperty:
    criteria = [
        greengrass.CfnDeployment.IoTJobAbortCriteriaProperty(
            action="CANCEL",
            failure_type=criterion.failure_type,
            threshold_percentage=criterion.percentage,
            min_number_of_executed_things=criterion.minimum,
        )
        for criterion in rollout.abort
    ]
    return greengrass.CfnDeployment.DeploymentIoTJobConfigurationProperty(
        job_executions_rollout_config=greengrass.CfnDeployment.IoTJobExecutionsRolloutConfigProperty(
            maximum_per_minute=rollout.maximum_per_minute,
            exponential_rate=None if rollout.exponential is None else _exponential(rollout.exponential),
        ),
        abort_config=greengrass.CfnDeployment.IoTJobAbortConfigProperty(criteria_list=criteria) if criteria else None,
        timeout_config=greengrass.CfnDeployment.IoTJobTimeoutConfigProperty(
            in_progress_timeout_in_minutes=rollout.in_progress_minutes
        ),
    )


def _exponential(rate: ExponentialRate) -> greengrass.CfnDeployment.IoTJobExponentialRolloutRateProperty:
    criteria = {"NumberOfNotifiedThings": rate.notified, "NumberOfSucceededThings": rate.succeeded}
    return greengrass.CfnDeployment.IoTJobExponentialRolloutRateProperty(
        base_rate_per_minute=rate.base_per_minute,
        increment_factor=rate.increment_factor,
        # The CDK passes this one on as it is, so its keys are CloudFormation's.
        rate_increase_criteria={key: number for key, number in criteria.items() if number is not None},
    )


def _update(deployed: DeployedComponent) -> greengrass.CfnDeployment.ComponentConfigurationUpdateProperty | None:
    if not deployed.merge and not deployed.reset:
        return None
    text = json.dumps(deployed.merge, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return greengrass.CfnDeployment.ComponentConfigurationUpdateProperty(
        merge=text if deployed.merge else None, reset=list(deployed.reset) or None
    )
