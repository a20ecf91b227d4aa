# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import aws_cdk as cdk
import aws_cdk.aws_cloudwatch as cloudwatch
import aws_cdk.aws_cloudwatch_actions as actions
import aws_cdk.aws_iam as iam
import aws_cdk.aws_iot as iot
import aws_cdk.aws_sns as sns
from constructs import Construct

from edge_constructs.acknowledge import acknowledge

_PERIOD_MINUTES = 5


class SilenceAlarm(Construct):
    """Counts the results that devices publish, and raises an alarm when none came for a while.

    Args:
        scope: the construct it stands in.
        id_: its id there.
        topic: the IoT Core topic of the results.
        thing_prefix: what the names of this environment's things start with; others may share topic and account.
        metric_namespace: CloudWatch namespace of the count.
        silent_minutes: how long nothing may come.
    """

    def __init__(
        self, scope: Construct, id_: str, *, topic: str, thing_prefix: str, metric_namespace: str, silent_minutes: int
    ) -> None:
        super().__init__(scope, id_)
        role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("iot.amazonaws.com"))
        role.add_to_policy(
            iam.PolicyStatement(
                sid="CountResults",
                actions=["cloudwatch:PutMetricData"],
                resources=["*"],  # the action knows no resources; its namespace is the bound
                conditions={"StringEquals": {"cloudwatch:namespace": metric_namespace}},
            )
        )
        acknowledge(
            role,
            rule="AwsSolutions-IAM5[Resource::*]",
            reason="PutMetricData knows no resources; the condition on the metric namespace is the bound.",
        )
        action = iot.CfnTopicRule.CloudwatchMetricActionProperty(
            metric_name="Results",
            metric_namespace=metric_namespace,
            metric_unit="Count",
            metric_value="1",
            role_arn=role.role_arn,
        )
        iot.CfnTopicRule(
            self,
            "Rule",
            topic_rule_payload=iot.CfnTopicRule.TopicRulePayloadProperty(
                # A core device's MQTT client is named as its thing.
                sql=f"SELECT * FROM '{topic}' WHERE startswith(clientid(), '{thing_prefix}')",  # noqa: S608 -- IoT's
                aws_iot_sql_version="2016-03-23",
                actions=[iot.CfnTopicRule.ActionProperty(cloudwatch_metric=action)],
            ),
        )
        self.notifications = sns.Topic(self, "Notifications", enforce_ssl=True)
        alarm = cloudwatch.Alarm(
            self,
            "Alarm",
            alarm_description=f"No device of {thing_prefix}* published a result for {silent_minutes} minutes.",
            metric=cloudwatch.Metric(
                namespace=metric_namespace,
                metric_name="Results",
                statistic="Sum",
                period=cdk.Duration.minutes(_PERIOD_MINUTES),
            ),
            threshold=1,
            comparison_operator=cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
            evaluation_periods=max(1, silent_minutes // _PERIOD_MINUTES),
            treat_missing_data=cloudwatch.TreatMissingData.BREACHING,
        )
        alarm.add_alarm_action(actions.SnsAction(self.notifications))
        alarm.add_ok_action(actions.SnsAction(self.notifications))
