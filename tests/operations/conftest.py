# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from local.aws.server import EmbeddedAws
from operations.target import ENVIRONMENTS, Target
from operations.verify import Clock
from stacks.environment import load_environment

ACCOUNT = "444455556666"  # of AWS's documentation too, but not the one that stands for no account
REGION = "us-east-1"
_NAMESPACES = (f"t{number}" for number in itertools.count())


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedAws]:
    """One account for all tests; each has a namespace of its own."""
    with EmbeddedAws.start(directory=tmp_path_factory.mktemp("aws"), account=ACCOUNT, region=REGION) as aws:
        yield aws


@dataclass
class Account:
    """An environment in the embedded AWS: what its stacks would make, as far as a test needs it."""

    aws: EmbeddedAws
    target: Target
    said: list[str] = field(default_factory=list)

    @property
    def namespace(self) -> str:
        return self.target.environment.namespace

    @property
    def bucket(self) -> str:
        return self.target.environment.artifact_bucket

    def make_fleet(self) -> None:
        environment, iot = self.target.environment, self.aws.client("iot")
        members = {environment.thing_group: environment.fleet_things}
        if environment.canaries:
            members[environment.canary_group] = environment.canary_things
        for group, things in members.items():
            iot.create_thing_group(thingGroupName=group)
            for thing in things:
                iot.create_thing(thingName=thing)
                iot.add_thing_to_thing_group(thingGroupName=group, thingName=thing)
        empty = json.dumps({"Version": "2012-10-17", "Statement": []})
        iot.create_policy(policyName=environment.device_policy, policyDocument=empty)
        role = f"arn:aws:iam::{ACCOUNT}:role/{environment.device_role}"
        iot.create_role_alias(roleAlias=environment.role_alias, roleArn=role)
        for bucket in (environment.artifact_bucket, environment.capture_bucket):
            self.aws.client("s3").create_bucket(Bucket=bucket)

    def make_version(
        self, name: str, version: str, *, needs: Sequence[str] = (), bucket: str = "", also: Sequence[str] = ()
    ) -> str:
        """A component version with one artifact, beside which the objects of `also` lie; returns its ARN."""
        full = f"{self.namespace}.{name}"
        bucket, folder = bucket or self.bucket, f"components/{full}/{version}"
        for file in ("app.zip", *also):
            self.aws.client("s3").put_object(Bucket=bucket, Key=f"{folder}/{file}", Body=b"")
        platform = {"os": "linux", "runtime": "*"}
        dependencies = {f"{self.namespace}.{need}": {"VersionRequirement": ">=0.0.0"} for need in needs}
        recipe = {
            "RecipeFormatVersion": "2020-01-25",
            "ComponentName": full,
            "ComponentVersion": version,
            "ComponentDependencies": dependencies,
            "Manifests": [{"Platform": platform, "Artifacts": [{"Uri": f"s3://{bucket}/{folder}/app.zip"}]}],
        }
        answer = self.aws.client("greengrassv2").create_component_version(inlineRecipe=json.dumps(recipe).encode())
        return str(answer["arn"])

    def make_deployment(self, components: Mapping[str, str], *, target: str | None = None) -> str:
        named = {f"{self.namespace}.{name}": {"componentVersion": version} for name, version in components.items()}
        answer = self.aws.client("greengrassv2").create_deployment(
            targetArn=target or self.target.group_arn, components=named
        )
        return str(answer["deploymentId"])

    def report(
        self,
        thing: str,
        deployment_id: str,
        status: str,
        *,
        components: Sequence[Mapping[str, Any]] = (),
        why: str = "",
    ) -> None:
        """As a nucleus would: the device's state, then that of its deployment."""
        self.report_state(thing, components)
        data = self.aws.client("iot-data")
        job = self.aws.client("greengrassv2").get_deployment(deploymentId=deployment_id)["iotJobId"]
        update = {"status": status, "statusDetails": {"deployment-failure-cause": why} if why else {}}
        data.publish(topic=f"$aws/things/{thing}/jobs/{job}/update", payload=json.dumps(update).encode())

    def report_state(self, thing: str, components: Sequence[Mapping[str, Any]]) -> None:
        """What a nucleus says of itself and its components."""
        state = {
            "thing": thing,
            "ggcVersion": "2.14.3",
            "platform": "linux",
            "architecture": "amd64",
            "overallDeviceStatus": "HEALTHY",
            "components": list(components),
        }
        topic = f"$aws/things/{thing}/greengrassv2/health/json"
        self.aws.client("iot-data").publish(topic=topic, payload=json.dumps(state).encode())

    def versions(self) -> list[str]:
        """Names and versions of the namespace's components that there are, without the namespace."""
        greengrass = self.aws.client("greengrassv2")
        return sorted(
            f"{item['componentName'].removeprefix(self.namespace + '.')} {item['componentVersion']}"
            for component in greengrass.list_components()["components"]
            if component["componentName"].startswith(f"{self.namespace}.")
            for item in greengrass.list_component_versions(arn=component["arn"])["componentVersions"]
        )

    def keys(self) -> list[str]:
        listed = self.aws.client("s3").list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return [item["Key"].removeprefix(f"components/{self.namespace}.") for item in listed]


DIGEST = "d" * 64


class Script:
    """A clock that moves with its sleeps alone; at each of them the next step is taken."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self.seconds = 0.0
        self._steps = list(steps)

    @property
    def clock(self) -> Clock:
        return Clock(now=lambda: self.seconds, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.seconds += seconds
        if self._steps:
            self._steps.pop(0)()


@dataclass
class Released:
    """An environment that has releases of one component, and devices that are told what to say of them."""

    account: Account
    moment: float = 0.0

    @property
    def target(self) -> Target:
        return self.account.target

    def declare(self, name: str, **outputs: str) -> None:
        """A stack of the environment with these outputs."""
        body = {
            "Resources": {"Wait": {"Type": "AWS::CloudFormation::WaitConditionHandle"}},
            "Outputs": {key: {"Value": value} for key, value in outputs.items()},
        }
        cloudformation, stack = self.account.aws.client("cloudformation"), f"{self.account.namespace}-{name}"
        act, waiter = cloudformation.create_stack, "stack_create_complete"
        if self.target.stack_status(stack) is not None:
            act, waiter = cloudformation.update_stack, "stack_update_complete"
        if self.target.stack_outputs(stack) == outputs and outputs:
            return  # CloudFormation refuses an update that changes nothing
        act(StackName=stack, TemplateBody=json.dumps(body))
        cloudformation.get_waiter(waiter).wait(StackName=stack, WaiterConfig={"Delay": 0.1, "MaxAttempts": 200})

    def release(self, version: str, *, digest: str = DIGEST) -> str:
        """Deploy a version to the first group, as the Models and Release stacks do."""
        self.account.make_version("App", version)
        self.declare("Models", ModelDigest=digest)
        made = self.account.make_deployment({"App": version}, target=self.target.first_group_arn)
        self.declare("Release", DeploymentId=made)
        return made

    def roll_out(self, version: str) -> str:
        """Deploy a version to the fleet after the canaries, as the Rollout stack does."""
        made = self.account.make_deployment({"App": version}, target=self.target.group_arn)
        self.declare("Rollout", DeploymentId=made)
        return made

    def component(self, version: str, state: str = "RUNNING") -> dict[str, Any]:
        name = f"{self.account.namespace}.App"
        return {"componentName": name, "componentVersion": version, "status": state, "isRoot": True}

    def run(self, thing: str, deployment: str, version: str, *, state: str = "RUNNING") -> None:
        """The device carries the deployment out."""
        self.account.report(thing, deployment, "SUCCEEDED", components=[self.component(version, state)])

    def beat(
        self,
        thing: str,
        *,
        digest: str = DIGEST,
        predictions: int = 10,
        failed: int = 0,
        seconds: float = 0.02,
        model: str = "digits",
    ) -> None:
        """A heartbeat, a second after the one before."""
        self.moment = max(self.moment + 1, time.time())
        counted = {"Predictions": predictions, "PredictionsFailed": failed, "InferenceSeconds": seconds}
        entry = {"ModelVersion": {"S": "1.0"}, "ModelDigest": {"S": digest}, "SignedBy": {"S": "key"}}
        item = {
            "DeviceName": {"S": thing},
            "ReceivedAt": {"N": str(self.moment)},
            "Timestamp": {"N": str(self.moment)},
            "AgentVersion": {"S": "1.0"},
            "Models": {"M": {model: {"M": {**entry, **{key: {"N": str(value)} for key, value in counted.items()}}}}},
        }
        self.account.aws.client("dynamodb").put_item(TableName=self.target.environment.heartbeat_table, Item=item)


@pytest.fixture
def make_released(make_account: Callable[..., Account]) -> Callable[..., Released]:
    """Makes environments that have devices and a table of heartbeats."""

    def make(**overrides: str) -> Released:
        account = make_account(**overrides)
        account.make_fleet()
        account.aws.client("dynamodb").create_table(
            TableName=account.target.environment.heartbeat_table,
            AttributeDefinitions=[{"AttributeName": "DeviceName", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "DeviceName", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
        )
        return Released(account)

    return make


@pytest.fixture
def released(make_released: Callable[..., Released]) -> Released:
    """One device, no canaries, two heartbeats to verify."""
    return make_released()


@pytest.fixture
def script() -> type[Script]:
    return Script


@pytest.fixture
def make_account(aws: EmbeddedAws) -> Callable[..., Account]:
    """Makes environments: dev's file with overrides, in a namespace of their own."""

    def make(name: str = "dev", account: str = ACCOUNT, **overrides: str) -> Account:
        environment = load_environment(
            ENVIRONMENTS / f"{name}.toml",
            overrides={"namespace": next(_NAMESPACES), **overrides},
            variables={f"EDGE_{name.upper()}_ACCOUNT": account},
        )
        said: list[str] = []
        target = Target(environment=environment, client=aws.client, say=said.append)
        return Account(aws, target, said)

    return make


@pytest.fixture
def account(make_account: Callable[..., Account]) -> Account:
    """An environment with its fleet."""
    made = make_account()
    made.make_fleet()
    return made
