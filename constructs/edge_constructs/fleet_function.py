# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping, Sequence

import aws_cdk as cdk
import aws_cdk.aws_iam as iam
import aws_cdk.aws_logs as logs
from constructs import Construct

from edge_constructs.acknowledge import acknowledge
from edge_constructs.arns import regional_arn
from edge_constructs.fleet_description import FleetDescription
from edge_constructs.handler_function import HandlerFunction

_MODULES = (
    "declared_models",
    "fleet_metrics",
    "fleet_settings",
    "heartbeat_message",
    "heartbeat_record",
    "heartbeat_table",
)


class FleetFunction(HandlerFunction):
    """A function that puts a fleet's metrics, and knows which models are declared.

    Args:
        scope: the construct it stands in.
        id_: its id there.
        fleet: whose metrics.
        handler: `<module of this package>.<entry point>`.
        variables: its environment variables, beside those that tell of the fleet.
        statements: what it may do beside putting metrics and reading what is declared.
        timeout: of an invocation.
        log_retention: how long logs are kept.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        fleet: FleetDescription,
        handler: str,
        variables: Mapping[str, str],
        statements: Sequence[iam.PolicyStatement],
        timeout: cdk.Duration,
        log_retention: logs.RetentionDays,
    ) -> None:
        super().__init__(
            scope,
            id_,
            handler=handler,
            modules=_MODULES,
            variables={**fleet.variables, **variables},
            statements=[*statements, *_statements(scope, fleet)],
            timeout=timeout,
            log_retention=log_retention,
        )
        acknowledge(
            self.role,
            rule="AwsSolutions-IAM5[Resource::*]",
            reason="PutMetricData knows no resources; the condition on the metric namespace is the bound.",
        )


def _statements(scope: Construct, fleet: FleetDescription) -> list[iam.PolicyStatement]:
    return [
        iam.PolicyStatement(
            sid="PutMetrics",
            actions=["cloudwatch:PutMetricData"],
            resources=["*"],  # the action knows no resources; its namespace is the bound
            conditions={"StringEquals": {"cloudwatch:namespace": fleet.metric_namespace}},
        ),
        iam.PolicyStatement(
            sid="ReadDeclaredModels",
            actions=["ssm:GetParameterHistory"],
            resources=[
                regional_arn(scope, "ssm", f"parameter{fleet.declared_models}{model}") for model in fleet.models
            ],
        ),
    ]
