# SPDX-License-Identifier: Apache-2.0
"""What the deployed system did, read where it left its traces: bucket, queue, logs, and the answers of the cloud."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from botocore.exceptions import ClientError

from local.system import LocalSystem, LocalSystemError

RULE = "demo_results"
QUEUE = "demo-results"


@dataclass(frozen=True)
class Captures:
    """The capture records of the bucket: `records` by capture id, and how often each id stands there."""

    keys: list[str]
    records: Mapping[str, Mapping[str, Any]]
    counts: Counter[str]


def read_captures(system: LocalSystem) -> Captures:
    """Every record of every manifest in the capture bucket."""
    s3, bucket = system.aws.client("s3"), system.assembly.capture_bucket
    keys = [
        item["Key"]
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        for item in page.get("Contents", [])
    ]
    records: dict[str, Mapping[str, Any]] = {}
    counts: Counter[str] = Counter()
    for key in keys:
        if key.endswith(".jsonl"):
            for line in s3.get_object(Bucket=bucket, Key=key)["Body"].read().splitlines():
                record = json.loads(line)
                capture_id = record["eventMetadata"]["eventId"]
                records[capture_id] = record
                counts[capture_id] += 1
    return Captures(keys=keys, records=records, counts=counts)


def captured_class(record: Mapping[str, Any]) -> int:
    """The class with the highest score in a record's first output tensor, decoded as capture consumers do."""
    tensor = record["deviceFleetOutputs"][0]
    scores = np.frombuffer(base64.b64decode(tensor["data"]), dtype="<f4")
    return int(np.argmax(scores))


def count_messages_behind_rule(system: LocalSystem, topic: str) -> None:
    """Put a topic rule and a queue behind the results topic: what arrives there has left the broker."""
    queue = system.aws.client("sqs").create_queue(QueueName=QUEUE)["QueueUrl"]
    queue_arn = f"arn:aws:sqs:{system.aws.region}:{system.aws.account}:{QUEUE}"
    role = _role_to_send(system, queue_arn)
    system.aws.client("iot").create_topic_rule(
        ruleName=RULE,
        topicRulePayload={
            "sql": f"SELECT * FROM '{topic}'",  # noqa: S608 -- IoT's rule language; the topic is our own deployment's
            "actions": [{"sqs": {"queueUrl": queue, "roleArn": role, "useBase64": False}}],
        },
    )


def _role_to_send(system: LocalSystem, queue_arn: str) -> str:
    """A role of the demo's own, with which IoT may send to its queue and do nothing else."""
    iam = system.aws.client("iam")

    def document(**statement: Any) -> str:
        return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]})

    trust = document(Principal={"Service": "iot.amazonaws.com"}, Action="sts:AssumeRole")
    role = iam.create_role(RoleName=QUEUE, AssumeRolePolicyDocument=trust)["Role"]
    send = document(Action="sqs:SendMessage", Resource=queue_arn)
    iam.put_role_policy(RoleName=QUEUE, PolicyName="send", PolicyDocument=send)
    return str(role["Arn"])


def receive_messages(system: LocalSystem) -> Iterator[Mapping[str, Any]]:
    """The messages that are behind the rule now, taken out of the queue."""
    sqs = system.aws.client("sqs")
    queue = sqs.get_queue_url(QueueName=QUEUE)["QueueUrl"]
    while batch := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
        for message in batch:
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
            yield json.loads(message["Body"])


def predictions_in_metrics(system: LocalSystem, *, stage: str, model: str, version: str) -> int:
    """How many predictions of a model's version CloudWatch has, by the heartbeats that came so far, in all groups."""
    cloudwatch = system.aws.client("cloudwatch")
    wanted = [{"Name": "Model", "Value": model}, {"Name": "Version", "Value": version}]
    series = cloudwatch.list_metrics(Namespace=f"EdgeManager/{stage}", MetricName="Predictions", Dimensions=wanted)
    queries = [
        {"Id": f"m{number}", "MetricStat": {"Metric": metric, "Period": 3600, "Stat": "Sum"}}
        for number, metric in enumerate(series["Metrics"])
    ]
    if not queries:
        return 0
    now, day = dt.datetime.now(dt.UTC), dt.timedelta(days=1)
    answer = cloudwatch.get_metric_data(MetricDataQueries=queries, StartTime=now - day, EndTime=now + day)
    return round(sum(sum(result["Values"]) for result in answer["MetricDataResults"]))


def take_census(system: LocalSystem, *, stage: str) -> None:
    """Have devices counted now, and not when the schedule says so."""
    stack = f"{stage}-Monitoring"
    resources = system.aws.client("cloudformation").list_stack_resources(StackName=stack)["StackResourceSummaries"]
    (function,) = (
        resource["PhysicalResourceId"]
        for resource in resources
        if resource["LogicalResourceId"].startswith("CensusHandlerFunction")
    )
    answer = system.aws.client("lambda").invoke(FunctionName=function, Payload=b"{}")
    if "FunctionError" in answer:
        raise LocalSystemError(f"{function}: {answer['Payload'].read().decode()}")


def denied_call(system: LocalSystem) -> str:
    """Try, with the device role's own credentials, to write outside the capture prefix.

    Returns:
        The cloud's refusal, or an empty string where the call was let through.
    """
    role = f"arn:aws:iam::{system.aws.account}:role/{system.assembly.device_role}"
    s3 = system.aws.client("s3", credentials=system.aws.assume_role(role, session_name="denied"))
    try:
        s3.put_object(Bucket=system.assembly.capture_bucket, Key="elsewhere/probe", Body=b"")
    except ClientError as error:
        return (
            f"{error.response['Error']['Code']}: s3:PutObject on s3://{system.assembly.capture_bucket}/elsewhere/probe"
        )
    return ""
