# SPDX-License-Identifier: Apache-2.0
"""Verification and restore as the pipeline runs them: dev in the embedded AWS, a core device with our agent, and the
environment's own roles, assumed by the role that they trust.

The steps build on one another, so they are one test: a release passes, is spoilt in four ways, and is restored.
"""

from __future__ import annotations

import contextlib
import copy
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.system import ACCOUNT, REGION, ROOT, LocalSystem
from operations.gate import pass_gate
from operations.last_good import promote, read_last_good
from operations.roles import AssumedRole, with_role
from operations.target import Target
from operations.verify import VerificationError, verify
from stacks.application import ENVIRONMENTS
from stacks.delivery_settings import load_delivery
from stacks.environment import load_environment

DIRECTORY = ROOT / "build" / "verification"  # the components' virtual environments survive there from run to run
HELD_OUT = ROOT / "models" / "digits" / "held_out"
IMAGES = 12
CRASHING = "9.9.9"

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform != "linux", reason="the recipes are for Linux"),
]


@pytest.fixture
def system(tmp_path: Path) -> Iterator[LocalSystem]:
    """dev with a device that passes over a few images every second, and speaks every five."""
    for path in sorted(HELD_OUT.glob("*.png"))[:IMAGES]:
        shutil.copy(path, tmp_path)
    overrides = {
        "inference.image_directory": str(tmp_path),
        "inference.interval_seconds": "1",
        "heartbeat.period_seconds": "5",
    }
    with LocalSystem(directory=DIRECTORY, stage="dev", overrides=overrides, notify=lambda _step: None) as system:
        system.synthesise()
        system.deploy()
        system.start_device()
        system.wait_until_deployed(timeout=400)
        yield system


class Pipeline:
    """What a step of the pipeline has: the role of its project, and by it those of the environment."""

    def __init__(self, system: LocalSystem) -> None:
        self.said: list[str] = []
        self.root = system.aws.client
        name = load_delivery(ROOT / "delivery.toml", variables={}).verify_role("dev")
        overrides = {"heartbeat.period_seconds": "5"}
        environment = load_environment(ENVIRONMENTS / "dev.toml", overrides=overrides, variables={})
        roles = [environment.verifier_role, environment.restorer_role]
        project = AssumedRole(self.root("sts"), arn=self.make_role(name, roles), region=REGION)
        other = AssumedRole(self.root("sts"), arn=self.make_role("another", roles), region=REGION)
        self.target = Target(environment=environment, client=project.client, say=self.said.append)
        self.stranger = replace(self.target, client=other.client)
        self.reader = with_role(self.target, roles[0])
        self.writer = with_role(self.target, roles[1])

    def make_role(self, name: str, assumable: list[str]) -> str:
        """A role that may ask for others, as the Delivery stack's does."""
        iam = self.root("iam")
        trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}
        asking = {
            "Effect": "Allow",
            "Action": "sts:AssumeRole",
            "Resource": [f"arn:aws:iam::{ACCOUNT}:role/{role}" for role in assumable],
        }
        document = {"Version": "2012-10-17", "Statement": [trust]}
        made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(document))
        policy = json.dumps({**document, "Statement": [asking]})
        iam.put_role_policy(RoleName=name, PolicyName="assume", PolicyDocument=policy)
        return str(made["Role"]["Arn"])

    def verify(self, *, seconds: float = 60) -> None:
        verify(self.reader, first=False, wait_seconds=seconds)

    def reason(self, *, seconds: float = 60) -> str:
        with pytest.raises(VerificationError) as caught:
            self.verify(seconds=seconds)
        return str(caught.value)

    def change(self, stack: str, edit: Callable[[Any], None]) -> Any:
        """Update a stack by its own template, edited; gives the former one."""
        cloudformation = self.root("cloudformation")
        body = cloudformation.get_template(StackName=stack)["TemplateBody"]
        former = json.loads(body) if isinstance(body, str) else body
        template = copy.deepcopy(former)
        edit(template)
        self.put(stack, template)
        return former

    def put(self, stack: str, template: Mapping[str, Any]) -> None:
        cloudformation = self.root("cloudformation")
        cloudformation.update_stack(
            StackName=stack, TemplateBody=json.dumps(template), Capabilities=["CAPABILITY_NAMED_IAM"]
        )
        waiter = cloudformation.get_waiter("stack_update_complete")
        waiter.wait(StackName=stack, WaiterConfig={"Delay": 0.2, "MaxAttempts": 100})


@pytest.fixture
def pipeline(system: LocalSystem, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    for name, value in system.aws.environment().items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)  # for the clients of assumed roles
    return Pipeline(system)


# Every fifth run of the engine fails; a line of a .pth file is run when its interpreter starts.
FAULT = """\
import itertools
import onnxruntime

run, calls = onnxruntime.InferenceSession.run, itertools.count(1)

def failing(*arguments, **options):
    if next(calls) % 5 == 0:
        raise RuntimeError("the engine is out of order")
    return run(*arguments, **options)

onnxruntime.InferenceSession.run = failing
"""


@contextlib.contextmanager
def engine_out_of_order(system: LocalSystem) -> Iterator[None]:
    """The agent's ONNX Runtime fails now and then, from the next start of the device on."""
    (packages,) = system.device_root.glob("work/*.Agent/venv/lib/python3*/site-packages")
    module, hook = packages / "edge_test_fault.py", packages / "edge_test_fault.pth"
    try:
        module.write_text(FAULT, encoding="utf-8")
        hook.write_text("import edge_test_fault\n", encoding="utf-8")
        yield
    finally:
        for path in (module, hook):  # the environment survives this run
            path.unlink(missing_ok=True)


def crashing(template: Any) -> None:
    """The release with another version of the inference component, which starts and then ends in failure."""
    resources = template["Resources"]
    (id_,) = (key for key in resources if key.startswith("ImageClassificationVersion"))
    version = copy.deepcopy(resources[id_])
    recipe = json.loads(version["Properties"]["InlineRecipe"])
    recipe["ComponentVersion"] = CRASHING
    recipe["Manifests"][0]["Lifecycle"]["run"] = {"Script": "sleep 3; exit 1"}
    version["Properties"]["InlineRecipe"] = json.dumps(recipe)
    resources["CrashingVersion"] = version
    (deployment,) = (item for item in resources.values() if item["Type"] == "AWS::GreengrassV2::Deployment")
    deployment["Properties"]["Components"][recipe["ComponentName"]]["ComponentVersion"] = CRASHING
    deployment["DependsOn"] = [*deployment.get("DependsOn", []), "CrashingVersion"]


def other_digest(template: Any) -> None:
    template["Outputs"]["ModelDigest"]["Value"] = "0" * 64


def test_a_release_passes_is_spoilt_and_is_restored(system: LocalSystem, pipeline: Pipeline) -> None:
    inference = system.assembly.component(".ImageClassification")
    good = system.assembly.version(inference)

    # A good release passes, and is kept; the roles can what they must and no more.
    gate: dict[str, Any] = {
        "writer": pipeline.writer,
        "first": False,
        "restoring": True,
        "recording": True,
        "wait_seconds": 90.0,
    }
    pass_gate(pipeline.reader, **gate)
    assert "predictions, 0 failed" in "\n".join(pipeline.said)
    kept = read_last_good(pipeline.reader)
    assert kept is not None
    assert kept["dev-fleet"]["components"][inference]["componentVersion"] == good
    with pytest.raises(ClientError, match="AccessDenied"):
        promote(pipeline.reader, writer=pipeline.reader)
    with pytest.raises(ClientError, match="AccessDenied"):
        read_last_good(with_role(pipeline.stranger, pipeline.target.environment.verifier_role))

    # What is declared is not what is loaded.
    former = pipeline.change("dev-Models", other_digest)
    assert "wrong digest: model digits is loaded with" in pipeline.reason()
    pipeline.put("dev-Models", former)

    # The device says nothing.
    system.stop_device()
    assert "dev-device-1: silent: " in pipeline.reason(seconds=7)

    # The model fails too often.
    with engine_out_of_order(system):
        system.start_device()
        assert "dev-device-1: error rate over the bound: " in pipeline.reason()
        system.stop_device()
    system.start_device()

    # A component crashes: the former release is brought back, and predicts.
    pipeline.change("dev-Release", crashing)
    predicted = len(list(system.events(inference, "prediction")))
    with pytest.raises(VerificationError) as caught:
        pass_gate(pipeline.reader, **gate)
    assert f"component {inference} {CRASHING} is BROKEN" in str(caught.value)
    assert "The last good release runs again" in str(caught.value)
    installed = pipeline.reader.client("greengrassv2").list_installed_components(coreDeviceThingName="dev-device-1")
    versions = {item["componentName"]: item["componentVersion"] for item in installed["installedComponents"]}
    assert versions[inference] == good
    system.wait_for(
        lambda: len(list(system.events(inference, "prediction"))) > predicted + IMAGES,
        what="predictions of the restored release",
        timeout=60,
    )

    # The same assembly cannot pass after that.
    assert "is not the group's active one" in pipeline.reason()

    # And this is all that the roles asked for.
    asked = {
        role: {str(call.action) for call in system.aws.calls() if call.role == role}
        for role in (pipeline.target.environment.verifier_role, pipeline.target.environment.restorer_role)
    }
    assert asked == {
        "dev-verifier": {
            "cloudformation:DescribeStacks",
            "dynamodb:BatchGetItem",
            "greengrass:GetCoreDevice",
            "greengrass:GetDeployment",
            "greengrass:ListDeployments",
            "greengrass:ListEffectiveDeployments",
            "greengrass:ListInstalledComponents",
            "ssm:GetParameter",
            "ssm:PutParameter",  # refused, as it should be
        },
        "dev-restorer": {"greengrass:CreateDeployment", "ssm:PutParameter"},
    }
