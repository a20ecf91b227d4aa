# SPDX-License-Identifier: Apache-2.0
"""What SageMaker's jobs have in common: the function that runs them, and the role that SageMaker does them with."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
import aws_cdk.aws_iam as iam
import aws_cdk.aws_logs as logs
from constructs import Construct

from edge_constructs.acknowledge import acknowledge
from edge_constructs.arns import regional_arn
from edge_constructs.custom_resource import CustomResourceProvider


def job_provider(
    scope: Construct,
    *,
    handler: str,
    kind: str,
    jobs: str,
    statements: Sequence[iam.PolicyStatement],
    total_timeout: cdk.Duration,
    log_retention: logs.RetentionDays,
) -> CustomResourceProvider:
    """The provider of a resource that is a job of SageMaker's.

    Args:
        scope: the construct it stands in.
        handler: a module of this package.
        kind: of the jobs, as SageMaker's operations name it: `CompilationJob`.
        jobs: the resource part of their ARNs up to where a hash follows: `compilation-job/dev-digits`.
        statements: what the handler may do beside starting, watching and stopping those jobs.
        total_timeout: what a job may take.
        log_retention: of the handler's logs.
    """
    arn = regional_arn(scope, "sagemaker", f"{jobs}*")
    actions = [f"sagemaker:{verb}{kind}" for verb in ("Create", "Describe", "Stop")]
    provider = CustomResourceProvider(
        scope,
        "Handler",
        handler=handler,
        modules=["s3_objects", "sagemaker_jobs"],
        statements=[iam.PolicyStatement(sid="RunJobs", actions=actions, resources=[arn]), *statements],
        total_timeout=total_timeout,
        log_retention=log_retention,
    )
    acknowledge(
        provider,
        rule=f"AwsSolutions-IAM5[Resource::{arn}]",
        reason="A job's name can be used once: a hash and an attempt follow the prefix, which is the bound.",
    )
    return provider


def sagemaker_role(scope: Construct) -> iam.Role:
    """A role that SageMaker assumes for this account's jobs only."""
    return iam.Role(
        scope,
        "Role",
        assumed_by=iam.ServicePrincipal(
            "sagemaker.amazonaws.com",
            conditions={"StringEquals": {"aws:SourceAccount": cdk.Stack.of(scope).account}},
        ),
    )


def pass_role(role: iam.Role) -> iam.PolicyStatement:
    """Leave to hand a role to SageMaker."""
    return iam.PolicyStatement(
        sid="PassRole",
        actions=["iam:PassRole"],
        resources=[role.role_arn],
        conditions={"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
    )


def see_missing(objects: str) -> iam.PolicyStatement:
    """Leave to tell a missing key of these objects' bucket from a denied one: without it both answer 403."""
    return iam.PolicyStatement(sid="SeeMissing", actions=["s3:ListBucket"], resources=[objects.partition("/")[0]])
