# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import aws_cdk as cdk
import aws_cdk.aws_dynamodb as dynamodb
import aws_cdk.aws_events as events
import aws_cdk.aws_events_targets as targets
import aws_cdk.aws_iam as iam
import aws_cdk.aws_logs as logs
from constructs import Construct

from edge_constructs.arns import regional_arn
from edge_constructs.fleet_description import FleetDescription
from edge_constructs.fleet_function import FleetFunction

#: How often devices are counted.
PERIOD = cdk.Duration.minutes(5)


class FleetCensus(Construct):
    """Counts every five minutes the silent devices, and those that run another model than the declared one.

    Args:
        scope: the construct it stands in.
        id_: its id there.
        fleet: whose devices.
        table: the heartbeat table.
        silent: who was not heard for so long is silent.
        rollout: for so long after a model was declared anew, its former digest is as good.
        log_retention: how long logs are kept.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        fleet: FleetDescription,
        table: dynamodb.Table,
        silent: cdk.Duration,
        rollout: cdk.Duration,
        log_retention: logs.RetentionDays,
    ) -> None:
        super().__init__(scope, id_)
        handler = FleetFunction(
            self,
            "Handler",
            fleet=fleet,
            handler="census_handler.on_schedule",
            variables={
                "THING_GROUPS": " ".join(fleet.groups),
                "ROLLOUT_SECONDS": str(rollout.to_seconds()),
                "SILENT_SECONDS": str(silent.to_seconds()),
                "TABLE": table.table_name,
            },
            statements=[
                iam.PolicyStatement(
                    sid="ReadHeartbeats",
                    actions=["dynamodb:DeleteItem", "dynamodb:PutItem", "dynamodb:Scan"],
                    resources=[table.table_arn],
                ),
                iam.PolicyStatement(
                    sid="ListMembers",
                    actions=["iot:ListThingsInThingGroup"],
                    resources=[regional_arn(self, "iot", f"thinggroup/{group}") for group in fleet.groups],
                ),
            ],
            timeout=cdk.Duration.minutes(4),
            log_retention=log_retention,
        )
        events.Rule(
            self,
            "Schedule",
            schedule=events.Schedule.rate(PERIOD),
            targets=[targets.LambdaFunction(handler.function, retry_attempts=0)],  # the next count is near
        )
