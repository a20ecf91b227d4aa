# SPDX-License-Identifier: Apache-2.0
"""cdk-nag's findings on what `aws_cdk.pipelines` makes by itself: their ids hold accounts and generated names."""

from __future__ import annotations

import re

import aws_cdk as cdk
from aws_cdk import pipelines
from cdk_nag import AwsSolutionsChecks
from constructs import IConstruct

from edge_constructs.acknowledge import acknowledge

_BUCKET = r"(<Artifacts[A-Z0-9]*\.Arn>|arn:aws[a-z-]*:s3:::edge-delivery-support-[a-z0-9-]+)"
_HERE = r"arn:aws[a-z-]*:(logs|codebuild):[a-z0-9-]+:\d{12}"
# Where a finding is found and its id, and why it is accepted; what matches nothing here fails the synthesis.
REASONS = {
    rf".*/Role/DefaultPolicy/Resource IAM5\[Resource::{_BUCKET}/\*\]": (
        "Actions hand on artifacts under keys that CodePipeline makes; the bucket holds nothing else but reports."
    ),
    r".*/(File|CodePipelineAction)?Role/DefaultPolicy/Resource "
    r"IAM5\[Action::s3:(Abort|DeleteObject|GetBucket|GetObject|List)\*\]": (
        "These are the CDK's grants of reading and writing, on the bucket of the pipeline's artifacts alone."
    ),
    r".*/(File|CodePipelineAction)?Role/DefaultPolicy/Resource IAM5\[Action::kms:(GenerateDataKey|ReEncrypt)\*\]": (
        "These are the CDK's grants of encryption, on the key of the pipeline's artifacts alone."
    ),
    rf".*/(File|CodePipelineAction)Role/DefaultPolicy/Resource IAM5\[Resource::{_BUCKET}/\*\]": (
        "Source and assets are artifacts under keys that CodePipeline makes."
    ),
    rf".*/Role/DefaultPolicy/Resource "
    rf"IAM5\[Resource::{_HERE}:(log-group:/aws/codebuild/<\w+>:|report-group/<\w+>-)\*\]": (
        "CodeBuild names log streams and test reports itself, below the project's own names."
    ),
    rf".*/Assets/FileRole/DefaultPolicy/Resource "
    rf"IAM5\[Resource::{_HERE}:(log-group:/aws/codebuild|report-group)/\*\]": (
        "The role is made before the project that publishes assets has a name."
    ),
    r".*/(UpdatePipeline/SelfMutation/Role|Assets/FileRole)/DefaultPolicy/Resource "
    r"IAM5\[Resource::(\*|arn:\*:iam::\d{12}:role/\*)\]": (
        "Narrowed by a condition to the roles of the CDK's bootstrap stacks, or to reading stacks and buckets."
    ),
    rf".*/ChangeReport-.*/Role/DefaultPolicy/Resource IAM5\[Resource::{_BUCKET}/reports/[a-z0-9-]+/\*\]": (
        "Each execution writes a report under its own id, below its environment's name."
    ),
    r".*/Pipeline/Role/DefaultPolicy/Resource IAM5\[Resource::\*\]": (
        "The CDK cannot name the key of its bucket in another region; that key's own policy says who may use it."
    ),
    r"cross-region-stack-.*/CrossRegionCodePipelineReplicationBucket/Resource S1": (
        "It holds copies of artifacts in the region of an environment; CloudTrail records access where that is wanted."
    ),
}


def acknowledge_pipeline(stack: cdk.Stack, pipeline: pipelines.CodePipeline) -> None:
    """Accept what is known, in the pipeline's stack and in those of its artifacts in other regions."""
    others = [support.stack for support in pipeline.pipeline.cross_region_support.values()]
    for scope in (stack, *others):
        for violation in AwsSolutionsChecks().validate_scope(scope).violations:
            rule = violation.rule_name
            for resource in violation.violating_resources:
                path = str(resource.construct_path)
                finding = f"{path} {rule.removeprefix('AwsSolutions-')}"
                reason = next((text for known, text in REASONS.items() if re.fullmatch(known, finding)), None)
                if reason is not None:
                    acknowledge(_at(stack.node.root, path), rule=rule, reason=reason)


def _at(root: IConstruct, path: str) -> IConstruct:
    found = root
    for part in path.split("/"):
        found = found.node.find_child(part)
    return found
