# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import aws_cdk as cdk
from constructs import Construct

from edge_constructs.fleet_alarms import FleetAlarms, Thresholds
from edge_constructs.fleet_census import FleetCensus
from edge_constructs.fleet_dashboard import FleetDashboard
from edge_constructs.fleet_description import FleetDescription
from edge_constructs.heartbeat_intake import HeartbeatIntake
from edge_constructs.model_folder import ModelFolder
from stacks.configuration import HEARTBEAT_TOPIC
from stacks.environment import Environment
from stacks.log_retention import log_retention


class MonitoringStack(cdk.Stack):
    """From heartbeats to metrics, alarms and a dashboard. It knows the models' names alone: releases change nothing."""

    def __init__(
        self, scope: Construct, id_: str, *, environment: Environment, models: Sequence[ModelFolder], **kwargs: Any
    ) -> None:
        super().__init__(scope, id_, **kwargs)
        fleet = FleetDescription(
            fleet=environment.thing_group,
            canary_group=environment.canary_group,
            canaries=environment.canary_things,
            models=[model.name for model in models],
            declared_models=environment.declared_models,
            metric_namespace=f"EdgeManager/{environment.namespace}",
        )
        intake = HeartbeatIntake(
            self,
            "Heartbeats",
            fleet=fleet,
            table_name=environment.heartbeat_table,
            topic=HEARTBEAT_TOPIC,
            thing_prefix=f"{environment.namespace}-",
            log_retention=log_retention(environment),
        )
        settings = environment.alarms
        FleetCensus(
            self,
            "Census",
            fleet=fleet,
            table=intake.table,
            silent=cdk.Duration.minutes(settings.silent_minutes),
            rollout=cdk.Duration.minutes(environment.longest_rollout_minutes),
            log_retention=log_retention(environment),
        )
        alarms = FleetAlarms(
            self,
            "Alarms",
            fleet=fleet,
            thresholds=Thresholds(
                silent_devices=settings.silent_devices,
                load_failures=settings.load_failures,
                error_percentage=settings.error_percentage,
                latency_milliseconds=settings.latency_milliseconds,
                refused_captures=settings.refused_captures,
                other_digest_devices=settings.other_digest_devices,
                window=cdk.Duration.minutes(settings.window_minutes),
            ),
            undelivered=intake.undelivered,
            notify=settings.notify,
        )
        FleetDashboard(self, "Page", name=environment.thing_group, fleet=fleet, alarms=alarms.alarms)
        cdk.CfnOutput(self, "Notifications", value=alarms.notifications.topic_arn)
