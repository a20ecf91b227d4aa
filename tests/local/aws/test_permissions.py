# SPDX-License-Identifier: Apache-2.0
"""Roles, functions and topic rules under enforced permissions, and the record of who called what."""

import dataclasses
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.aws.calls import Call, read_calls
from local.aws.server import Credentials, EmbeddedAws

ACCOUNT = "111122223333"
REGION = "us-east-1"
ROLE = "SageMaker-device"
FUNCTION = """
import boto3

class GreetingRefusedError(Exception):
    pass

def handler(event, context):
    if event.get("fail"):
        raise GreetingRefusedError("no greeting for " + event["fail"])
    s3 = boto3.client("s3")
    return s3.get_object(Bucket="captures-sagemaker", Key=event["key"])["Body"].read().decode()
"""


def allow(action: str, resource: str) -> str:
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def trust(service: str) -> str:
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": service}}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedAws]:
    """With a device and a function."""
    with EmbeddedAws.start(directory=tmp_path_factory.mktemp("aws"), account=ACCOUNT, region=REGION) as aws:
        populate(aws)
        yield aws


def populate(aws: EmbeddedAws) -> None:
    """A bucket, a device role that may put captures, and a function that may read greetings."""
    s3, iam = aws.client("s3"), aws.client("iam")
    s3.create_bucket(Bucket="captures-sagemaker")
    for key in ("greetings/1", "secrets/1"):
        s3.put_object(Bucket="captures-sagemaker", Key=key, Body=b"hello")
    for role, service, action, prefix in (
        (ROLE, "credentials.iot.amazonaws.com", "s3:PutObject", "captures"),
        ("function", "lambda.amazonaws.com", "s3:GetObject", "greetings"),
    ):
        iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust(service))
        document = allow(action, f"arn:aws:s3:::captures-sagemaker/{prefix}/*")
        iam.put_role_policy(RoleName=role, PolicyName="access", PolicyDocument=document)
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("index.py", FUNCTION)
    function = aws.client("lambda")
    function.create_function(
        FunctionName="greet",
        Runtime="python3.13",
        Handler="index.handler",
        Role=f"arn:aws:iam::{aws.account}:role/function",
        Code={"ZipFile": package.getvalue()},
        Timeout=10,
    )
    function.get_waiter("function_active_v2").wait(FunctionName="greet", WaiterConfig={"Delay": 1})


def device(aws: EmbeddedAws) -> Credentials:
    return aws.assume_role(f"arn:aws:iam::{aws.account}:role/{ROLE}", session_name="dev-device-1")


def invoke(aws: EmbeddedAws, event: object) -> tuple[Any, bool]:
    """The function's answer, and whether it is an error."""
    answer = aws.client("lambda").invoke(FunctionName="greet", Payload=json.dumps(event).encode())
    return json.loads(answer["Payload"].read()), "FunctionError" in answer


def test_the_device_role_does_what_it_may_and_nothing_else(aws: EmbeddedAws) -> None:
    s3 = aws.client("s3", credentials=device(aws))
    s3.put_object(Bucket="captures-sagemaker", Key="captures/1", Body=b"{}")
    requests: list[tuple[str, dict[str, Any]]] = [
        ("put_object", {"Key": "greetings/1", "Body": b"{}"}),
        ("get_object", {"Key": "captures/1"}),
        ("list_objects_v2", {}),
    ]
    for operation, members in requests:
        with pytest.raises(ClientError) as error:
            getattr(s3, operation)(Bucket="captures-sagemaker", **members)
        assert error.value.response["Error"]["Code"] == "AccessDenied"


def test_keys_that_sts_did_not_hand_out_are_refused(aws: EmbeddedAws) -> None:
    real = device(aws)
    forged = Credentials(real.access_key_id, "another secret", real.session_token)
    with pytest.raises(ClientError) as error:
        aws.client("s3", credentials=forged).put_object(Bucket="captures-sagemaker", Key="captures/2", Body=b"{}")
    assert error.value.response["Error"]["Code"] == "SignatureDoesNotMatch"


def test_root_keeps_all_permissions(aws: EmbeddedAws) -> None:
    aws.client("iot").create_thing(thingName="dev-device-1")
    assert aws.client("greengrassv2").list_core_devices()["coreDevices"] == []
    assert aws.client("s3").get_object(Bucket="captures-sagemaker", Key="secrets/1")["Body"].read() == b"hello"


def test_a_function_may_do_what_its_role_may(aws: EmbeddedAws) -> None:
    assert invoke(aws, {"key": "greetings/1"}) == ("hello", False)


def test_a_function_is_denied_what_its_role_may_not(aws: EmbeddedAws) -> None:
    answer, failed = invoke(aws, {"key": "secrets/1"})
    assert (answer["errorType"], failed) == ("AccessDenied", True)


def test_only_who_may_list_a_bucket_is_told_that_an_object_is_missing(aws: EmbeddedAws) -> None:
    """As AWS documents it for GetObject and HeadObject."""
    s3 = aws.client("s3")
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket="captures-sagemaker", Key="greetings/none")
    answer, failed = invoke(aws, {"key": "greetings/none"})
    assert (answer["errorType"], failed) == ("AccessDenied", True)
    asked = calls_of(aws, "function")[-1]
    assert (asked.action, asked.resource, asked.outcome) == (
        "s3:ListBucket",
        "arn:aws:s3:::captures-sagemaker",
        "ImplicitDeny",
    )


def calls_of(aws: EmbeddedAws, role: str | None) -> list[Call]:
    return [call for call in aws.calls() if call.role == role]


def test_calls_are_recorded_with_principal_action_resource_and_outcome(aws: EmbeddedAws) -> None:
    s3 = aws.client("s3", credentials=device(aws))
    s3.put_object(Bucket="captures-sagemaker", Key="captures/recorded", Body=b"{}")
    with pytest.raises(ClientError):
        s3.get_object(Bucket="captures-sagemaker", Key="captures/recorded")
    put, get = calls_of(aws, ROLE)[-2:]
    assert put.principal == f"arn:aws:sts::{ACCOUNT}:assumed-role/{ROLE}/dev-device-1"
    assert (put.service, put.action, put.allowed) == ("s3", "s3:PutObject", True)
    assert put.resource == get.resource == "arn:aws:s3:::captures-sagemaker/captures/recorded"
    assert (get.action, get.outcome, get.allowed) == ("s3:GetObject", "ImplicitDeny", False)
    assert put.time <= get.time


def test_a_functions_calls_are_those_of_its_role(aws: EmbeddedAws) -> None:
    invoke(aws, {"key": "greetings/1"})
    last = calls_of(aws, "function")[-1]
    assert (last.action, last.resource, last.allowed) == (
        "s3:GetObject",
        "arn:aws:s3:::captures-sagemaker/greetings/1",
        True,
    )


def test_the_roots_calls_are_recorded_too_with_a_groups_and_its_things_permission(aws: EmbeddedAws) -> None:
    iot = aws.client("iot")
    iot.create_thing(thingName="recorded")
    iot.create_thing_group(thingGroupName="recorded")
    iot.add_thing_to_thing_group(thingName="recorded", thingGroupName="recorded")
    aws.client("greengrassv2").list_deployments()
    iot.list_role_aliases()
    *added, listed, aliases = aws.calls()[-4:]
    assert {call.principal for call in (*added, listed)} == {f"arn:aws:iam::{ACCOUNT}:root"}
    assert [(call.action, call.resource.rpartition(":")[2]) for call in added] == [
        ("iot:AddThingToThingGroup", "thinggroup/recorded"),
        ("iot:AddThingToThingGroup", "thing/recorded"),
    ]
    assert (listed.service, listed.action) == ("greengrass", "greengrass:ListDeployments")
    assert aliases.action == "iot:ListRoleAliases"


def test_a_call_with_bad_keys_is_nobodys(aws: EmbeddedAws) -> None:
    forged = Credentials("AKIAIOSFODNN7EXAMPLE", "secret", "")
    with pytest.raises(ClientError):
        aws.client("s3", credentials=forged).list_buckets()
    last = aws.calls()[-1]
    assert (last.principal, last.role, last.allowed) == ("", None, False)
    assert last.outcome == "UnrecognizedClientException"


def test_a_half_written_line_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    call = Call(time=1.0, principal="", service="s3", action=None, resource="*", context={}, outcome="Allow")
    path.write_text(json.dumps(dataclasses.asdict(call)) + '\n{"time": 2.0, "prin', encoding="utf-8")
    assert read_calls(path) == [call]


def test_an_error_of_a_function_has_its_own_type(aws: EmbeddedAws) -> None:
    answer, failed = invoke(aws, {"fail": "you"})
    assert failed
    assert (answer["errorType"], answer["errorMessage"]) == ("GreetingRefusedError", "no greeting for you")
    assert any("raise GreetingRefusedError" in line for line in answer["stackTrace"])


def test_a_state_machine_catches_a_functions_error_by_its_type(aws: EmbeddedAws) -> None:
    states = aws.client("stepfunctions")
    greet = {
        "Type": "Task",
        "Resource": f"arn:aws:lambda:{aws.region}:{aws.account}:function:greet",
        "Catch": [{"ErrorEquals": ["GreetingRefusedError"], "Next": "Refused"}],
        "End": True,
    }
    refused = {"Type": "Pass", "Result": "caught", "End": True}
    definition = json.dumps({"StartAt": "Greet", "States": {"Greet": greet, "Refused": refused}})
    machine = states.create_state_machine(
        name="greeting", definition=definition, roleArn=f"arn:aws:iam::{aws.account}:role/function", type="EXPRESS"
    )
    execution = states.start_sync_execution(
        stateMachineArn=machine["stateMachineArn"], input=json.dumps({"fail": "you"})
    )
    assert (execution["status"], json.loads(execution["output"])) == ("SUCCEEDED", "caught")


def test_a_topic_rule_counts_messages_in_a_queue(aws: EmbeddedAws) -> None:
    iot, sqs, iam = aws.client("iot"), aws.client("sqs"), aws.client("iam")
    queue = sqs.create_queue(QueueName="predictions")["QueueUrl"]
    iam.create_role(RoleName="rule", AssumeRolePolicyDocument=trust("iot.amazonaws.com"))
    document = allow("sqs:SendMessage", f"arn:aws:sqs:{aws.region}:{aws.account}:predictions")
    iam.put_role_policy(RoleName="rule", PolicyName="send", PolicyDocument=document)
    action = {"roleArn": f"arn:aws:iam::{aws.account}:role/rule", "queueUrl": queue, "useBase64": False}
    rule = {
        "sql": "SELECT * FROM 'gg/sageMakerEdgeManager/#'",
        "actions": [{"sqs": action}],
        "awsIotSqlVersion": "2016-03-23",
    }
    iot.create_topic_rule(ruleName="predictions", topicRulePayload=rule)
    for number in range(5):
        message = json.dumps({"number": number}).encode()
        aws.client("iot-data").publish(topic="gg/sageMakerEdgeManager/image-classification", qos=1, payload=message)
    aws.client("iot-data").publish(topic="elsewhere", qos=1, payload=b"{}")
    received = [
        json.loads(message["Body"])["number"]
        for message in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=5)["Messages"]
    ]
    attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    left = int(attributes["ApproximateNumberOfMessages"])
    assert (sorted(received), left) == ([0, 1, 2, 3, 4], 0)
