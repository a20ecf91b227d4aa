# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from local.aws.server import EmbeddedAws
from operations.target import ENVIRONMENTS, Target
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

    def report(self, thing: str, deployment_id: str, status: str) -> None:
        """As a nucleus would: the device's state, then that of its deployment."""
        data = self.aws.client("iot-data")
        state = {
            "thing": thing,
            "ggcVersion": "2.14.3",
            "platform": "linux",
            "architecture": "amd64",
            "overallDeviceStatus": "HEALTHY",
            "components": [],
        }
        data.publish(topic=f"$aws/things/{thing}/greengrassv2/health/json", payload=json.dumps(state).encode())
        job = self.aws.client("greengrassv2").get_deployment(deploymentId=deployment_id)["iotJobId"]
        data.publish(topic=f"$aws/things/{thing}/jobs/{job}/update", payload=json.dumps({"status": status}).encode())

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
