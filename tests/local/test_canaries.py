# SPDX-License-Identifier: Apache-2.0
"""A release comes to the canaries first: the project's stacks and handler, an embedded AWS, two core devices."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest

from edge_constructs.component_source import ComponentSource
from edge_constructs.fleet_deployment import DeployedComponent
from edge_constructs.greengrass_component import GreengrassComponent
from edge_constructs.group_membership_handler import GroupMembership
from edge_constructs.handler_kernel import handle
from local.aws.server import EmbeddedAws
from stacks.deployment import deploy_release
from stacks.environment import Environment, load_environment
from stacks.rollout import RolloutStack

ROOT = Path(__file__).parents[2]
ACCOUNT, REGION = "111122223333", "us-east-1"
CANARY, OTHER = "legacy-device-1", "legacy-device-2"
APP = "legacy.com.example.App"

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def environment() -> Environment:
    """The legacy one, as its agent is AWS's: no key is read by a function that would have to be deployed here."""
    path = ROOT / "tests" / "environments" / "legacy.toml"
    return load_environment(path, overrides={"canaries": '["device-1"]'}, variables={})


def templates(environment: Environment, outdir: Path, *, version: str, merge: Mapping[str, str]) -> dict[str, str]:
    """Release and Rollout of one version of a component, whose defaults tell its version."""
    recipe = {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": "com.example.App",
        "ComponentConfiguration": {"DefaultConfiguration": {"Greeting": "hello", "Default": version}},
        "Manifests": [{"Platform": {"os": "linux", "runtime": "*"}, "Lifecycle": {"run": "exec sleep 1000"}}],
    }
    app = cdk.App(
        outdir=str(outdir / version),
        analytics_reporting=False,
        default_stack_synthesizer=cdk.DefaultStackSynthesizer(generate_bootstrap_version_rule=False),
    )
    place = cdk.Environment(account=ACCOUNT, region=REGION)
    release = cdk.Stack(app, "Release", env=place)
    component = GreengrassComponent(
        release,
        "App",
        source=ComponentSource(template=recipe, content_digest=version),
        namespace=environment.namespace,
        version=version,
        artifact_base_uri="s3://none",
        own_components=["com.example.App"],
    )
    components = [
        DeployedComponent(name="aws.greengrass.Nucleus", version="2.14.3"),
        DeployedComponent.of(component, merge),
    ]
    at_once = environment.rollout.at_once()
    deploy_release(release, environment, components, trust={}, thing_group=environment.first_group, rollout=at_once)
    RolloutStack(app, "Rollout", environment=environment, components=components, env=place)
    assembly = app.synth()
    return {name: json.dumps(assembly.get_stack_by_name(name).template) for name in ("Release", "Rollout")}


def deploy(aws: EmbeddedAws, name: str, template: str) -> None:
    cloudformation = aws.client("cloudformation")
    names = {stack["StackName"] for stack in cloudformation.describe_stacks()["Stacks"]}
    kind = "update" if name in names else "create"
    getattr(cloudformation, f"{kind}_stack")(StackName=name, TemplateBody=template)
    waiter = cloudformation.get_waiter(f"stack_{kind}_complete")
    waiter.wait(StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30})


def join(aws: EmbeddedAws, group: str, thing: str, *, former: str | None = None) -> None:
    """As CloudFormation has the membership's handler do it: an update, and a deletion of what it replaced."""
    event = {"ResourceProperties": {"ThingGroupName": group, "ThingName": thing}}
    membership = GroupMembership(aws.client("iot"))
    if former is None:
        handle(membership, {"RequestType": "Create", **event})
        return
    physical_id = f"{former}/{thing}"
    handle(membership, {"RequestType": "Update", "PhysicalResourceId": physical_id, **event})
    handle(membership, {"RequestType": "Delete", "PhysicalResourceId": physical_id, **event})


@pytest.fixture
def aws(tmp_path: Path, environment: Environment) -> Iterator[EmbeddedAws]:
    """What the devices need of the Fleet stack."""
    with EmbeddedAws.start(directory=tmp_path / "aws", account=ACCOUNT, region=REGION) as aws:
        iot = aws.client("iot")
        topics = f"arn:aws:iot:{REGION}:{ACCOUNT}:topic/$aws/things/legacy-*"
        publish = {"Effect": "Allow", "Action": "iot:Publish", "Resource": topics}
        document = json.dumps({"Version": "2012-10-17", "Statement": [publish]})
        iot.create_policy(policyName="policy", policyDocument=document)
        for group, thing in ((environment.canary_group, CANARY), (environment.thing_group, OTHER)):
            iot.create_thing_group(thingGroupName=group)
            iot.create_thing(thingName=thing)
            join(aws, group, thing)
        yield aws


class Device:
    """A core device as a process, and what the cloud knows of it."""

    def __init__(self, aws: EmbeddedAws, thing: str, directory: Path) -> None:
        self._greengrass = aws.client("greengrassv2")
        self._thing = thing
        self._root = directory / thing
        command = [sys.executable, "-m", "local.core_device", "--thing-name", thing, "--root", str(self._root)]
        command += ["--role-alias", "alias", "--iot-policy", "policy"]
        command += ["--poll-seconds", "0.1", "--settle-seconds", "0.3", "--component-updates"]
        with (directory / f"{thing}.log").open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=aws.environment(), stdout=log, stderr=subprocess.STDOUT
            )

    def runs(self) -> dict[str, str]:
        """Versions of what the device told the cloud it runs."""
        listed = self._greengrass.list_core_devices()["coreDevices"]
        if self._thing not in {device["coreDeviceThingName"] for device in listed}:
            return {}
        found = self._greengrass.list_installed_components(coreDeviceThingName=self._thing)["installedComponents"]
        return {item["componentName"]: item["componentVersion"] for item in found if item["lifecycleState"] != "NEW"}

    def deployments(self) -> list[tuple[str, str]]:
        """Target group and status of what reaches the device."""
        answer = self._greengrass.list_effective_deployments(coreDeviceThingName=self._thing)
        return [
            (item["targetArn"].rpartition("/")[2], item["coreDeviceExecutionStatus"])
            for item in answer["effectiveDeployments"]
        ]

    def configuration(self) -> Any:
        return json.loads((self._root / "config" / f"{APP}.json").read_text(encoding="utf-8"))

    def pid(self) -> int:
        state = json.loads((self._root / "state.json").read_text(encoding="utf-8"))
        return int(state["components"][APP]["pid"])


def wait(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_canaries_run_a_release_before_the_fleet_does(
    aws: EmbeddedAws, environment: Environment, tmp_path: Path
) -> None:
    first = templates(environment, tmp_path, version="1.0.0", merge={"Greeting": "good morning"})
    second = templates(environment, tmp_path, version="1.1.0", merge={})
    canary, other = (Device(aws, thing, tmp_path) for thing in (CANARY, OTHER))
    done = ("legacy-canary", "SUCCEEDED"), ("legacy-fleet", "SUCCEEDED")
    try:
        deploy(aws, "Release", first["Release"])
        wait(lambda: canary.deployments() == [done[0]])
        assert canary.runs()[APP] == "1.0.0"
        assert other.deployments() == [], "no release came to it yet"
        deploy(aws, "Rollout", first["Rollout"])
        wait(lambda: other.deployments() == [done[1]])
        former = other.pid()
        before = {"Greeting": "good morning", "Default": "1.0.0"}
        assert canary.configuration() == other.configuration() == before

        deploy(aws, "Release", second["Release"])
        wait(lambda: canary.runs().get(APP) == "1.1.0" and canary.deployments() == [done[0]])
        # The setting ended, and the default changed: both reach a device that had the component.
        after = {"Greeting": "hello", "Default": "1.1.0"}
        assert canary.configuration() == after
        assert (other.runs()[APP], other.pid(), other.deployments()) == ("1.0.0", former, [done[1]])
        assert other.configuration() == before

        deploy(aws, "Rollout", second["Rollout"])
        wait(lambda: other.runs().get(APP) == "1.1.0" and other.deployments() == [done[1]])
        assert other.configuration() == after
        # Both versions are there still, for whoever goes back.
        listed = aws.client("greengrassv2").list_component_versions(
            arn=f"arn:aws:greengrass:{REGION}:{ACCOUNT}:components:{APP}"
        )["componentVersions"]
        assert {item["componentVersion"] for item in listed} == {"1.0.0", "1.1.0"}

        join(aws, environment.thing_group, CANARY, former=environment.canary_group)
        wait(lambda: canary.deployments() == [done[1]])
        assert canary.runs()[APP] == "1.1.0"
        for device in (canary, other):
            device.process.terminate()
            assert device.process.wait(20) == 0
    finally:
        for device in (canary, other):
            device.process.kill()
            device.process.wait()
