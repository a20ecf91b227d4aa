# SPDX-License-Identifier: Apache-2.0
"""A model from its folder to the agent: the packaging job's stack lives its whole life in the embedded AWS.

The CDK CLI deploys stacks of the project's own constructs; the device's part is the recipe's own installation, and the
real agent with the public keys that the stack read from KMS.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from edge_contract.errors import AgentError
from edge_package import MANIFEST_NAME, SIGNATURE_NAME
from local.aws.server import ROOT, VENV, EmbeddedAws

APP = Path(__file__).parent / "jobs_app" / "app.py"
CLI = ROOT / "node_modules" / ".bin" / "cdk"
COMPONENT = "arn:aws:greengrass:us-east-1:111122223333:components:life.com.edgemanager.model.digits"
STAGES = (
    {"name": "first", "model": "one", "keys": ["former"], "wrong_digest": False},
    {"name": "updated", "model": "two", "keys": ["newer", "former"], "wrong_digest": False},
    {"name": "failing", "model": "three", "keys": ["newer", "former"], "wrong_digest": True},
    {"name": "reverted", "model": "one", "keys": ["newer", "former"], "wrong_digest": False},
)

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.skipif(sys.platform != "linux", reason="the recipes are for Linux"),
]


def write_models(root: Path) -> None:
    """Versions 1.0, 2.0 and 3.0 of a model: other labels are other content."""
    for name, version in (("one", "1.0"), ("two", "2.0"), ("three", "3.0")):
        shutil.copytree(ROOT / "models" / "digits", root / name, ignore=shutil.ignore_patterns("held_out", "*.py"))
        path = root / name / "model.toml"
        path.write_text(path.read_text().replace('version = "1.0"', f'version = "{version}"'))
        labels = root / name / "labels.txt"
        labels.write_text(labels.read_text().replace("0\n", f"{name}\n", 1))


class Life:
    """The stacks of the app as they stand in the embedded AWS."""

    def __init__(self, aws: EmbeddedAws, root: Path) -> None:
        self.aws = aws
        self.root = root

    def cdk(self, *arguments: str, succeeds: bool = True) -> str:
        path = os.pathsep.join([str(VENV / "bin"), "/usr/bin", "/bin"])
        variables = {**self.aws.environment(), "PATH": path, "NODE_NO_WARNINGS": "1", "CDK_VALIDATION": "false"}
        command = [str(CLI), "--no-notices", "--ci", *arguments]
        done = subprocess.run(
            command, env=variables, cwd=self.root, capture_output=True, text=True, timeout=200, check=False
        )
        assert (done.returncode == 0) is succeeds, done.stdout + done.stderr
        return done.stdout + done.stderr

    def deploy(self, stage: str, *, succeeds: bool = True) -> dict[str, str]:
        self.cdk("deploy", "--all", "--app", str(self.root / stage), "--require-approval", "never", succeeds=succeeds)
        return self.outputs()

    def outputs(self) -> dict[str, str]:
        stack = self.aws.client("cloudformation").describe_stacks(StackName="Model")["Stacks"][0]
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def reasons(self) -> list[str]:
        """What the stack's events say went wrong."""
        events = self.aws.client("cloudformation").describe_stack_events(StackName="Model")["StackEvents"]
        return [event.get("ResourceStatusReason", "") for event in events]

    def objects(self) -> dict[str, bytes]:
        s3 = self.aws.client("s3")
        keys = [item["Key"] for item in s3.list_objects_v2(Bucket="edge-life-artifacts").get("Contents", ())]
        return {key: s3.get_object(Bucket="edge-life-artifacts", Key=key)["Body"].read() for key in keys}

    def versions(self) -> dict[str, str]:
        greengrass = self.aws.client("greengrassv2")
        found = greengrass.list_component_versions(arn=COMPONENT)["componentVersions"]
        states = (greengrass.describe_component(arn=version["arn"]) for version in found)
        return {state["componentVersion"]: state["status"]["componentState"] for state in states}

    def deployed_version(self) -> str:
        deployment = self.aws.client("greengrassv2").get_deployment(deploymentId=self.outputs()["DeploymentId"])
        (component,) = deployment["components"].values()
        return str(component["componentVersion"])

    def install(self, version: str, work: Path) -> None:
        """What a nucleus does with the version: fetch its artifacts, hold their digests, run its installation."""
        recipe = json.loads(
            self.aws.client("greengrassv2").get_component(arn=f"{COMPONENT}:versions:{version}")["recipe"]
        )
        artifacts = work.with_name("artifacts")
        shutil.rmtree(artifacts, ignore_errors=True)
        artifacts.mkdir()
        (manifest,) = recipe["Manifests"]
        for artifact in manifest["Artifacts"]:
            bucket, _, key = artifact["Uri"].removeprefix("s3://").partition("/")
            body = self.aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
            (artifacts / key.rpartition("/")[2]).write_bytes(body)
        work.mkdir(exist_ok=True)
        script = manifest["Lifecycle"]["install"]["Script"].replace("{artifacts:path}", str(artifacts))
        subprocess.run(["/bin/sh", "-c", script], cwd=work, check=True, timeout=30)


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    root = tmp_path_factory.mktemp("life")
    write_models(root)
    (root / "stages.json").write_text(json.dumps(STAGES))
    sources = [ROOT / "constructs", ROOT / "component_src" / "common"]
    path = os.pathsep.join([str(VENV / "bin"), os.environ["PATH"]])
    own = {"PATH": path, "PYTHONPATH": os.pathsep.join(map(str, sources)), "CDK_VALIDATION": "false"}
    variables = {**os.environ, **own}
    subprocess.run([sys.executable, str(APP), str(root)], env=variables, check=True, timeout=120)
    directory = tmp_path_factory.mktemp("aws")
    with EmbeddedAws.start(directory=directory, account="111122223333", region="us-east-1") as aws:
        life = Life(aws, root)
        life.cdk("bootstrap", f"aws://{aws.account}/{aws.region}")
        yield life


@pytest.fixture(scope="module")
def first(life: Life) -> dict[str, str]:
    """The outputs of the first stage, which every test begins with."""
    return life.deploy("first")


def test_a_stack_with_a_job_is_created_updated_rolled_back_reverted_deleted_and_created_again(
    life: Life, first: Mapping[str, str], tmp_path: Path, shared_agent_with: Callable[..., Any]
) -> None:
    assert life.deployed_version() == first["Version"] == "1.0.0"
    made = life.objects()
    assert len(made) == 2, "a package and its signature"

    second = life.deploy("updated")
    assert life.deployed_version() == second["Version"] == "1.0.1"
    grown = life.objects()
    assert len(grown) == 4
    assert {key: grown[key] for key in made} == made, "the former package is never touched"

    after = life.deploy("failing", succeeds=False)
    stack = life.aws.client("cloudformation").describe_stacks(StackName="Model")["Stacks"][0]
    assert stack["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert any("it is not what was synthesised" in reason for reason in life.reasons()), life.reasons()
    assert after == second
    assert life.objects() == grown, "what the failed job had begun is gone"
    assert life.versions() == {"1.0.0": "DEPLOYABLE", "1.0.1": "DEPLOYABLE"}
    agent = shared_agent_with(RequireSignature="true", SigningPublicKeys=second["PublicKeys"])
    life.install(life.deployed_version(), tmp_path / "former")
    with agent.client() as client:
        assert client.load_model(str(tmp_path / "former"), "former").name == "former"

    reverted = life.deploy("reverted")
    assert life.deployed_version() == reverted["Version"] == "1.0.3", "1.0.2 was allotted to what failed"
    assert reverted["Package"] == first["Package"]
    assert life.objects() == grown, "the same content is the same package: nothing was written"
    with agent.client() as client:  # signed by the former key, which is still trusted beside the newer
        life.install("1.0.3", tmp_path / "reverted")
        assert client.load_model(str(tmp_path / "reverted"), "reverted").name == "reverted"

    life.cdk("destroy", "Model", "--app", str(life.root / "reverted"), "--force")
    assert life.objects() == grown, "devices may still want what they were told to fetch"
    greengrass = life.aws.client("greengrassv2")
    assert set(life.versions()) == {"1.0.0", "1.0.1", "1.0.3"}
    greengrass.delete_component(arn=f"{COMPONENT}:versions:1.0.3")  # as `make destroy` does after the stacks

    again = life.deploy("reverted")
    assert life.deployed_version() == again["Version"] == "1.0.3"
    assert life.objects() == grown

    # Former settings have their former version: it is not made twice, and pruning makes room for it.
    life.deploy("first", succeeds=False)
    assert any("already has a version 1.0.0" in reason for reason in life.reasons()), life.reasons()
    assert life.deployed_version() == "1.0.3"
    greengrass.delete_component(arn=f"{COMPONENT}:versions:1.0.0")  # as `make prune` does
    assert life.deploy("first")["Version"] == life.deployed_version() == "1.0.0"
    assert life.objects() == grown


def test_the_agent_refuses_the_package_after_one_flipped_byte_and_with_another_key(
    life: Life, first: Mapping[str, str], tmp_path: Path, shared_agent_with: Callable[..., Any]
) -> None:
    work = tmp_path / "work"
    life.install("1.0.0", work)
    agent = shared_agent_with(RequireSignature="true", SigningPublicKeys=first["PublicKeys"])
    names = sorted(path.name for path in work.iterdir())
    assert names == sorted(["model.onnx", "labels.txt", MANIFEST_NAME, SIGNATURE_NAME])
    with agent.client() as client:
        for name in names:
            content = (work / name).read_bytes()
            # Every byte of what says what is what, and bytes from all over the rest.
            step = 1 if name in {MANIFEST_NAME, SIGNATURE_NAME} else max(1, len(content) // 50)
            for position in range(0, len(content), step):
                changed = bytearray(content)
                changed[position] ^= 1
                (work / name).write_bytes(changed)
                with pytest.raises(AgentError) as refused:
                    client.load_model(str(work), "changed")
                assert "FAILED_PRECONDITION" in str(refused.value), (name, position)
            (work / name).write_bytes(content)
        assert client.load_model(str(work), "whole").name == "whole"

    other = life.aws.client("kms").create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    stranger = _public(life.aws, other)
    suspicious = shared_agent_with(RequireSignature="true", SigningPublicKeys=stranger)
    with suspicious.client() as client, pytest.raises(AgentError, match="expected one by a key of the root of trust"):
        client.load_model(str(work), "digits")


def _public(aws: EmbeddedAws, key: str) -> str:
    return base64.b64encode(aws.client("kms").get_public_key(KeyId=key)["PublicKey"]).decode()
