# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import cast

import aws_cdk as cdk
import aws_cdk.aws_iam as iam
from aws_cdk import pipelines

_KNOWN_TO_THE_CDK = "codestar-connections"


def allow_connection(stack: cdk.Stack, connection_arn: str) -> None:
    """Let each role that may use the connection use it under its present service name, too.

    A connection's ARN tells which of the two names its permissions have; the CDK knows the former one alone.
    """
    service = connection_arn.split(":")[2]
    if service == _KNOWN_TO_THE_CDK:
        return
    for policy in [child for child in stack.node.find_all() if isinstance(child, iam.Policy)]:
        named = stack.resolve(policy.document)["Statement"]
        if any(connection_arn in str(statement["Resource"]) for statement in named):
            policy.add_statements(iam.PolicyStatement(actions=[f"{service}:UseConnection"], resources=[connection_arn]))


def confine_asset_publishing(pipeline: pipelines.CodePipeline) -> None:
    """Let the role that publishes assets start the build that does it, and no other; the CDK allows it every build."""
    assets = pipeline.node.find_child("Assets")
    policy = cast(
        "iam.CfnPolicy", assets.node.find_child("FileRole").node.find_child("DefaultPolicy").node.default_child
    )
    project = cast("cdk.CfnResource", assets.node.find_child("FileAsset").node.default_child)
    found = cdk.Stack.of(pipeline).resolve(policy.policy_document)["Statement"]
    (index,) = (number for number, statement in enumerate(found) if "codebuild:StartBuild" in statement["Action"])
    policy.add_property_override(f"PolicyDocument.Statement.{index}.Resource", project.get_att("Arn"))
