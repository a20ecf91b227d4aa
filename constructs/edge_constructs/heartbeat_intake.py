# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import aws_cdk as cdk
import aws_cdk.aws_dynamodb as dynamodb
import aws_cdk.aws_iam as iam
import aws_cdk.aws_iot as iot
import aws_cdk.aws_lambda_event_sources as sources
import aws_cdk.aws_logs as logs
import aws_cdk.aws_sqs as sqs
from constructs import Construct

from edge_constructs.acknowledge import acknowledge
from edge_constructs.fleet_description import FleetDescription
from edge_constructs.fleet_function import FleetFunction
from edge_constructs.heartbeat_message import CLIENT, MEMBERS, RECEIVED
from edge_constructs.heartbeat_record import EXPIRES, KEY

_TIMEOUT = cdk.Duration.minutes(1)
_BATCH = 500  # messages of at most about 6 kB each: below what an invocation takes
_WINDOW = cdk.Duration.seconds(20)
_ATTEMPTS = 5


class HeartbeatIntake(Construct):
    """From the heartbeat topic to a table of each device's last one, and to metrics.

    A topic rule sends the messages of this environment's devices to a queue, from which a function takes them in
    batches: what many devices say costs a write each, and one request to CloudWatch.

    Args:
        scope: the construct it stands in.
        id_: its id there.
        fleet: what the metrics are of.
        table_name: of the table.
        topic: the IoT Core topic of heartbeats.
        thing_prefix: what the names of this environment's things start with; others may share topic and account.
        log_retention: how long logs are kept.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        fleet: FleetDescription,
        table_name: str,
        topic: str,
        thing_prefix: str,
        log_retention: logs.RetentionDays,
    ) -> None:
        super().__init__(scope, id_)
        self.table = _table(self, table_name)
        self.undelivered = _queue(self, "Undelivered", retention_period=cdk.Duration.days(14))
        queue = _queue(
            self,
            "Queue",
            visibility_timeout=cdk.Duration.seconds(6 * _TIMEOUT.to_seconds()),  # as Lambda advises
            dead_letter_queue=sqs.DeadLetterQueue(queue=self.undelivered, max_receive_count=_ATTEMPTS),
        )
        self._rule(queue, topic, thing_prefix)
        handler = FleetFunction(
            self,
            "Handler",
            fleet=fleet,
            handler="heartbeat_handler.on_messages",
            variables={
                "CANARIES": " ".join(fleet.canaries),
                "CANARY_GROUP": fleet.canary_group,
                "TABLE": table_name,
            },
            statements=[
                iam.PolicyStatement(
                    sid="KeepLastHeartbeats",
                    actions=["dynamodb:BatchGetItem", "dynamodb:PutItem"],
                    resources=[self.table.table_arn],
                ),
            ],
            timeout=_TIMEOUT,
            log_retention=log_retention,
        )
        handler.function.add_event_source(
            sources.SqsEventSource(
                queue,
                batch_size=_BATCH,
                max_batching_window=_WINDOW,
                max_concurrency=10,
                report_batch_item_failures=True,
            )
        )

    def _rule(self, queue: sqs.Queue, topic: str, thing_prefix: str) -> None:
        role = iam.Role(self, "RuleRole", assumed_by=iam.ServicePrincipal("iot.amazonaws.com"))
        role.add_to_policy(
            iam.PolicyStatement(sid="QueueHeartbeats", actions=["sqs:SendMessage"], resources=[queue.queue_arn])
        )
        action = iot.CfnTopicRule.SqsActionProperty(queue_url=queue.queue_url, role_arn=role.role_arn, use_base64=False)
        # Named one by one: no member of the message can stand for what the rule adds. A core device's MQTT clients
        # have its thing's name, perhaps with a number; regexp_matches, as the embedded AWS has no startswith.
        added = f"clientid() AS {CLIENT}, timestamp() AS {RECEIVED}"
        sql = f"SELECT {', '.join(MEMBERS)}, {added} FROM '{topic}' WHERE regexp_matches(clientid(), '^{thing_prefix}')"  # noqa: S608 -- IoT's
        iot.CfnTopicRule(
            self,
            "Rule",
            topic_rule_payload=iot.CfnTopicRule.TopicRulePayloadProperty(
                sql=sql, aws_iot_sql_version="2016-03-23", actions=[iot.CfnTopicRule.ActionProperty(sqs=action)]
            ),
        )


def _table(scope: Construct, name: str) -> dynamodb.Table:
    table = dynamodb.Table(
        scope,
        "Table",
        table_name=name,
        partition_key=dynamodb.Attribute(name=KEY, type=dynamodb.AttributeType.STRING),
        billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
        time_to_live_attribute=EXPIRES,
        removal_policy=cdk.RemovalPolicy.DESTROY,
    )
    acknowledge(
        table,
        rule="AwsSolutions-DDB3",
        reason="Each item is written anew by the device's next heartbeat: there is nothing to recover.",
    )
    return table


def _queue(
    scope: Construct,
    id_: str,
    *,
    visibility_timeout: cdk.Duration | None = None,
    retention_period: cdk.Duration | None = None,
    dead_letter_queue: sqs.DeadLetterQueue | None = None,
) -> sqs.Queue:
    return sqs.Queue(
        scope,
        id_,
        encryption=sqs.QueueEncryption.SQS_MANAGED,
        enforce_ssl=True,
        visibility_timeout=visibility_timeout,
        retention_period=retention_period,
        dead_letter_queue=dead_letter_queue,
    )
