# SPDX-License-Identifier: Apache-2.0
"""A small CDK app of every kind of resource that the embedded AWS has to get right, as it changes over time.

Started with a folder, in which it makes one cloud assembly a stage of its life.
"""

import json
import sys
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_greengrassv2 as greengrass
from aws_cdk import aws_iam as iam
from aws_cdk import aws_iot as iot
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_assets as s3_assets
from aws_cdk import custom_resources

HERE = Path(__file__).parent
ENVIRONMENT = cdk.Environment(account="111122223333", region="us-east-1")


def synthesise(directory: Path, *, greeting: str, version: str) -> None:
    """Makes the assembly of one stage; the handler of the greeting refuses the word ``fail``."""
    app = cdk.App(outdir=str(directory), analytics_reporting=False)
    stack = cdk.Stack(app, "Edge", env=ENVIRONMENT)
    bucket = s3.Bucket(stack, "Captures", bucket_name="sagemaker-captures", removal_policy=cdk.RemovalPolicy.DESTROY)
    greeted = greet(stack, bucket, greeting)
    deployment = deploy(stack, bucket, greeting=greeting, version=version)
    # A failing greeting fails the update after the new version and deployment were made.
    greeted.node.add_dependency(deployment)
    cdk.CfnOutput(stack, "Length", value=greeted.get_att_string("Length"))
    cdk.CfnOutput(stack, "DeploymentId", value=deployment.attr_deployment_id)
    s3.Bucket(cdk.Stack(app, "Never", env=ENVIRONMENT), "Unused")
    app.synth()


def greet(stack: cdk.Stack, bucket: s3.Bucket, greeting: str) -> cdk.CustomResource:
    """A custom resource behind the provider framework, its handlers in Python."""
    code = lambda_.Code.from_asset(str(HERE / "handlers"), exclude=["**/__pycache__"])
    handlers = {
        name: lambda_.Function(
            stack,
            name,
            runtime=lambda_.Runtime.PYTHON_3_13,
            handler=f"handlers.{name}",
            code=code,
            timeout=cdk.Duration.seconds(10),
        )
        for name in ("on_event", "is_complete")
    }
    for handler in handlers.values():
        bucket.grant_read_write(handler)
    provider = custom_resources.Provider(
        stack,
        "Provider",
        on_event_handler=handlers["on_event"],
        is_complete_handler=handlers["is_complete"],
        query_interval=cdk.Duration.seconds(1),
        total_timeout=cdk.Duration.minutes(1),
    )
    return cdk.CustomResource(
        stack,
        "Greeting",
        resource_type="Custom::Greeting",
        service_token=provider.service_token,
        properties={"Bucket": bucket.bucket_name, "Greeting": greeting},
    )


def deploy(stack: cdk.Stack, bucket: s3.Bucket, *, greeting: str, version: str) -> greengrass.CfnDeployment:
    """A component version, deployed to a group; and the role of its devices."""
    role = iam.Role(
        stack,
        "Device",
        role_name="SageMaker-device",
        assumed_by=iam.ServicePrincipal("credentials.iot.amazonaws.com"),
    )
    bucket.grant_put(role, "captures/*")
    alias = iot.CfnRoleAlias(stack, "Alias", role_alias="SageMakerEdge-fleet", role_arn=role.role_arn)
    cdk.CfnOutput(stack, "AliasArn", value=alias.attr_role_alias_arn)
    artifact = s3_assets.Asset(stack, "Artifact", path=str(HERE / "handlers" / "handlers.py"))
    manifest = {
        "Platform": {"os": "linux", "runtime": "*"},
        "Lifecycle": {"run": "true"},
        "Artifacts": [{"Uri": artifact.s3_object_url}],
    }
    recipe = {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": "com.example.Hello",
        "ComponentVersion": version,
        "Manifests": [manifest],
    }
    component = greengrass.CfnComponentVersion(stack, "Component", inline_recipe=stack.to_json_string(recipe))
    component.apply_removal_policy(cdk.RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE)
    return greengrass.CfnDeployment(
        stack,
        "Deployment",
        target_arn=iot.CfnThingGroup(stack, "Group", thing_group_name="fleet").attr_arn,
        deployment_name="fleet",
        components={
            "com.example.Hello": {
                "componentVersion": component.attr_component_version,
                "configurationUpdate": {"merge": json.dumps({"Greeting": greeting})},
            },
            "aws.greengrass.Nucleus": {"componentVersion": "2.14.0"},
        },
    )


if __name__ == "__main__":
    assemblies = Path(sys.argv[1])
    synthesise(assemblies / "first", greeting="hello", version="1.0.0")
    synthesise(assemblies / "changed", greeting="hello there", version="1.1.0")
    synthesise(assemblies / "failing", greeting="fail", version="1.2.0")
