# SPDX-License-Identifier: Apache-2.0
"""The device as it is started by hand, against the embedded AWS with enforced permissions."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from local.aws.server import EmbeddedAws

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[3]
ACCOUNT, REGION, THING = "111122223333", "us-east-1", "test-device-1"
CODE = """
import boto3, botocore.exceptions, time
from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2
client = GreengrassCoreIPCClientV2()
greeting = client.get_configuration(key_path=["Greeting"]).value["Greeting"]
s3 = boto3.client("s3")
s3.put_object(Bucket="captures", Key="allowed/1", Body=greeting.encode())
try:
    s3.put_object(Bucket="captures", Key="other/1", Body=b"")
except botocore.exceptions.ClientError as error:
    print(error.response["Error"]["Code"], flush=True)
client.publish_to_iot_core(topic_name="test/results", qos="1", payload=b'{"greeting": "hello"}')
time.sleep(60)
"""

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(name="aws")
def _aws(tmp_path: Path) -> Iterator[EmbeddedAws]:
    with EmbeddedAws.start(directory=tmp_path / "aws", account=ACCOUNT, region=REGION) as aws:
        yield aws


def wait(condition: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return value


def provision(aws: EmbeddedAws) -> None:
    """What the fleet stack declares, in the smallest form."""
    role = aws.client("iam")
    trust = {"Effect": "Allow", "Principal": {"Service": "credentials.iot.amazonaws.com"}, "Action": "sts:AssumeRole"}
    arn = role.create_role(RoleName="device", AssumeRolePolicyDocument=statements(trust))["Role"]["Arn"]
    read = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::artifacts/*"}
    write = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::captures/allowed/*"}
    role.put_role_policy(RoleName="device", PolicyName="p", PolicyDocument=statements(read, write))
    iot = aws.client("iot")
    alias = iot.create_role_alias(roleAlias="alias", roleArn=arn)["roleAliasArn"]
    topics = [f"arn:aws:iot:{REGION}:{ACCOUNT}:topic/{topic}" for topic in ("test/*", f"$aws/things/{THING}/*")]
    publish = {"Effect": "Allow", "Action": "iot:Publish", "Resource": topics}
    assume = {"Effect": "Allow", "Action": "iot:AssumeRoleWithCertificate", "Resource": alias}
    iot.create_policy(policyName="policy", policyDocument=statements(publish, assume))
    iot.create_thing(thingName=THING)
    iot.create_thing_group(thingGroupName="fleet")
    iot.add_thing_to_thing_group(thingName=THING, thingGroupName="fleet")
    for bucket in ("artifacts", "captures"):
        aws.client("s3").create_bucket(Bucket=bucket)


def statements(*items: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(items)})


def recipe(version: str) -> bytes:
    script = f"exec {shlex.quote(sys.executable)} -I {{artifacts:decompressedPath}}/app"
    access = {"app:1": {"operations": ["aws.greengrass#PublishToIoTCore"], "resources": ["test/*"]}}
    defaults = {"Greeting": "hello", "accessControl": {"aws.greengrass.ipc.mqttproxy": access}}
    return json.dumps(
        {
            "RecipeFormatVersion": "2020-01-25",
            "ComponentName": "test.app",
            "ComponentVersion": version,
            "ComponentConfiguration": {"DefaultConfiguration": defaults},
            "ComponentDependencies": {"aws.greengrass.TokenExchangeService": {"VersionRequirement": "^2.0.0"}},
            "Manifests": [
                {
                    "Platform": {"os": "linux", "runtime": "*"},
                    "Lifecycle": {"install": {"Script": "test -d {work:path}", "Timeout": 60}, "run": script},
                    "Artifacts": [{"Uri": f"s3://artifacts/{version}/app.zip", "Unarchive": "ZIP"}],
                }
            ],
        }
    ).encode()


def deploy(aws: EmbeddedAws, version: str, merge: Any) -> str:
    components = {
        "test.app": {"componentVersion": version, "configurationUpdate": {"merge": json.dumps(merge)}},
        "aws.greengrass.Nucleus": {"componentVersion": "2.14.3"},
    }
    target = f"arn:aws:iot:{REGION}:{ACCOUNT}:thinggroup/fleet"
    return str(aws.client("greengrassv2").create_deployment(targetArn=target, components=components)["deploymentId"])


def test_a_device_runs_what_the_cloud_deploys_under_its_own_role(
    aws: EmbeddedAws, tmp_path: Path, make_archive: Any, is_alive: Any
) -> None:
    provision(aws)
    greengrass, s3 = aws.client("greengrassv2"), aws.client("s3")
    s3.put_object(Bucket="artifacts", Key="1.0.0/app.zip", Body=make_archive({"__main__.py": CODE.encode()}))
    greengrass.create_component_version(inlineRecipe=recipe("1.0.0"))
    queue = aws.client("sqs").create_queue(QueueName="results")["QueueUrl"]
    action = {"sqs": {"roleArn": f"arn:aws:iam::{ACCOUNT}:role/device", "queueUrl": queue}}
    rule = {"sql": "SELECT * FROM 'test/results'", "actions": [action]}
    aws.client("iot").create_topic_rule(ruleName="results", topicRulePayload=rule)

    def status(deployment: str) -> str:
        listed = greengrass.list_effective_deployments(coreDeviceThingName=THING)["effectiveDeployments"]
        return str(
            next((item["coreDeviceExecutionStatus"] for item in listed if item["deploymentId"] == deployment), "")
        )

    first = deploy(aws, "1.0.0", {"Greeting": "good morning"})
    command = [sys.executable, "-m", "local.core_device", "--thing-name", THING, "--root", str(tmp_path / "device")]
    command += ["--role-alias", "alias", "--iot-policy", "policy", "--poll-seconds", "0.1", "--settle-seconds", "0.5"]
    with (tmp_path / "device.log").open("wb") as log:
        device = subprocess.Popen(command, cwd=ROOT, env=aws.environment(), stdout=log, stderr=subprocess.STDOUT)
    try:
        wait(lambda: status(first) in {"SUCCEEDED", "FAILED"})
        assert status(first) == "SUCCEEDED", (tmp_path / "device.log").read_text()
        component_log = tmp_path / "device" / "logs" / "test.app.log"
        wait(lambda: "AccessDenied" in component_log.read_text())
        assert s3.get_object(Bucket="captures", Key="allowed/1")["Body"].read() == b"good morning"
        received = wait(
            lambda: aws.client("sqs").receive_message(QueueUrl=queue, WaitTimeSeconds=1).get("Messages"), seconds=15
        )
        assert json.loads(received[0]["Body"]) == {"greeting": "hello"}
        core = greengrass.get_core_device(coreDeviceThingName=THING)
        assert (core["status"], core["coreVersion"]) == ("HEALTHY", "2.14.3")
        installed = greengrass.list_installed_components(coreDeviceThingName=THING)["installedComponents"]
        assert {item["componentName"]: item["lifecycleState"] for item in installed}["test.app"] == "RUNNING"

        s3.put_object(
            Bucket="artifacts", Key="1.1.0/app.zip", Body=make_archive({"__main__.py": b"raise SystemExit(1)"})
        )
        greengrass.create_component_version(inlineRecipe=recipe("1.1.0"))
        second = deploy(aws, "1.1.0", {})
        wait(lambda: status(second) in {"SUCCEEDED", "FAILED"})
        assert status(second) == "FAILED"
        state = json.loads((tmp_path / "device" / "state.json").read_text())
        assert state["deployment"]["detail"] == "FAILED_ROLLBACK_COMPLETE"
        assert state["components"]["test.app"]["version"] == "1.0.0"
        pid = state["components"]["test.app"]["pid"]
        device.terminate()
        assert device.wait(20) == 0
        assert not is_alive(pid)
    finally:
        device.kill()
        device.wait()
