# SPDX-License-Identifier: Apache-2.0
"""A model's life as stacks of the project's own constructs, one cloud assembly a stage of it.

Started with a folder that holds model folders by stage and the order of the stages; versions come from a lock that
grows with them, as `make lock` does between releases.
"""

import dataclasses
import json
import sys
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_iot as iot
from aws_cdk import aws_logs as logs

from edge_constructs.component_lock import ComponentLock
from edge_constructs.component_source import model_component
from edge_constructs.fleet_deployment import DeployedComponent, FleetDeployment
from edge_constructs.greengrass_component import GreengrassComponent
from edge_constructs.job_rules import GREENGRASS_V2_COMPONENT
from edge_constructs.model_folder import ModelFolder, load_model_folder
from edge_constructs.model_source import model_source
from edge_constructs.open_packaging import OpenPackaging
from edge_constructs.packaging_job import EdgePackagingJob, PackagingProperties, job_name, package_prefix
from edge_constructs.private_bucket import PrivateBucket
from edge_constructs.rollout_settings import RolloutSettings
from edge_constructs.signing_key import SigningKey, SigningPublicKeys, alias_arn

ENVIRONMENT = cdk.Environment(account="111122223333", region="us-east-1")
BUCKET = "edge-life-artifacts"
KEYS = ("newer", "former")
FLAGS = json.loads((Path(__file__).parents[3] / "cdk.json").read_text())["context"]
RETENTION = logs.RetentionDays.ONE_DAY


def synthesise(outdir: Path, model: ModelFolder, lock: ComponentLock, *, keys: list[str], wrong_digest: bool) -> None:
    """Make the assembly of one stage; `wrong_digest` declares another content than the job will find."""
    app = cdk.App(outdir=str(outdir), analytics_reporting=False, context=FLAGS)
    base = cdk.Stack(app, "Base", env=ENVIRONMENT)
    PrivateBucket(base, "Artifacts", bucket_name=BUCKET, versioned=True, lifecycle_rules=[])
    for key in KEYS:
        SigningKey(base, f"Key-{key}", alias_name=f"alias/life-{key}")
    iot.CfnThingGroup(base, "Group", thing_group_name="life-fleet")

    stack = cdk.Stack(app, "Model", env=ENVIRONMENT)
    component = model_component(model)
    version = lock.version_of(component)
    location = f"s3://{BUCKET}/{package_prefix(model)}"
    source = model_source(stack, "Source", model)
    aliases = [alias_arn(stack, f"alias/life-{key}") for key in keys]
    job = EdgePackagingJob(
        stack,
        "Packaging",
        properties=PackagingProperties(
            job_name=job_name(model),
            model_name=model.name,
            model_version=model.version,
            output_location=location,
            preset_deployment_type=GREENGRASS_V2_COMPONENT,
            preset_deployment_config={"ComponentName": f"life.{component.name}", "ComponentVersion": version},
        ),
        engine=OpenPackaging(
            source=dataclasses.replace(source, digest="0" * 64) if wrong_digest else source, signing_keys=aliases
        ),
        log_retention=RETENTION,
    )
    made = GreengrassComponent(
        stack,
        "Component",
        source=component,
        namespace="life",
        version=version,
        artifact_base_uri=location,
        own_components={component.name},
    )
    made.resource.node.add_dependency(job.resource)
    deployment = FleetDeployment(
        stack,
        "Deployment",
        name="life",
        thing_group="life-fleet",
        components=[DeployedComponent.of(made)],
        rollout=RolloutSettings(),
    )
    public = SigningPublicKeys(stack, "Trust", keys=aliases, log_retention=RETENTION)
    cdk.CfnOutput(stack, "Version", value=version)
    cdk.CfnOutput(stack, "DeploymentId", value=deployment.resource.attr_deployment_id)
    cdk.CfnOutput(stack, "Package", value=job.model_artifact)
    cdk.CfnOutput(stack, "PublicKeys", value=cdk.Fn.join(" ", public.public_keys))
    app.synth()


if __name__ == "__main__":
    root = Path(sys.argv[1])
    growing = ComponentLock(root / "components.lock", {})
    for stage in json.loads((root / "stages.json").read_text()):
        folder = load_model_folder(root / stage["model"])
        growing = growing.renewed([model_component(folder)])
        synthesise(root / stage["name"], folder, growing, keys=stage["keys"], wrong_digest=stage["wrong_digest"])
