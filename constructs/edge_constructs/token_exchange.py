# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import aws_cdk as cdk
import aws_cdk.aws_iam as iam
import aws_cdk.aws_iot as iot
from constructs import Construct

from edge_constructs.acknowledge import acknowledge
from edge_constructs.arns import object_arn, regional_arn
from edge_constructs.key_use import acknowledge_key, key_statement


class TokenExchange(Construct):
    """The Greengrass token exchange role and its IoT role alias: the AWS permissions of every component on a device.

    The role starts with nothing but what the nucleus needs for its logs; buckets are granted one by one.

    Args:
        scope: the construct it stands in.
        id_: its id there.
        role_name: must start with `SageMaker` (specification §1.1).
        alias_name: must start with `SageMakerEdge` (specification §1.2).
    """

    def __init__(self, scope: Construct, id_: str, *, role_name: str, alias_name: str) -> None:
        super().__init__(scope, id_)
        self.role = iam.Role(
            self,
            "Role",
            role_name=role_name,
            description="Assumed by Greengrass core devices through the role alias; SageMaker reads it for the fleet.",
            assumed_by=iam.ServicePrincipal("credentials.iot.amazonaws.com"),
        )
        # Bound to the account: otherwise anyone's SageMaker could be made to act with it (confused deputy). IoT's
        # credential provider sets no source account, so its statement carries no such condition.
        trust = self.role.assume_role_policy
        assert trust is not None  # noqa: S101 -- for mypy: a role that is created always has one
        trust.add_statements(
            iam.PolicyStatement(
                actions=["sts:AssumeRole"],
                principals=[iam.ServicePrincipal("sagemaker.amazonaws.com")],
                conditions={"StringEquals": {"aws:SourceAccount": cdk.Stack.of(self).account}},
            )
        )
        logs = regional_arn(self, "logs", "log-group:/aws/greengrass/*")
        self._allow(
            "NucleusLogs",
            ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"],
            logs,
        )
        acknowledge(
            self.role,
            rule=f"AwsSolutions-IAM5[Resource::{logs}]",
            reason="Greengrass names a log group per component and a stream per device and day.",
        )
        self.alias = iot.CfnRoleAlias(
            self, "Alias", role_alias=alias_name, role_arn=self.role.role_arn, credential_duration_seconds=3600
        )

    def allow_capture(self, *, bucket: str, prefix: str) -> None:
        """Let devices write captures below `prefix` of `bucket`, and find out where the bucket is."""
        objects = object_arn(self, f"s3://{bucket}/{prefix}/*")
        self._allow("WriteCaptures", ["s3:PutObject"], objects)
        self._allow("LocateCaptureBucket", ["s3:GetBucketLocation"], object_arn(self, f"s3://{bucket}"))
        acknowledge(
            self.role,
            rule=f"AwsSolutions-IAM5[Resource::{objects}]",
            reason="Capture keys hold model, hour and a random name; the prefix is the bound.",
        )

    def allow_artifacts(self, *, bucket: str, prefixes: list[str]) -> None:
        """Let devices read what lies below `prefixes` of the artifact bucket."""
        for prefix in prefixes:
            objects = object_arn(self, f"s3://{bucket}/{prefix}/*")
            self._allow(f"Read{prefix.title()}", ["s3:GetObject"], objects)
            acknowledge(
                self.role,
                rule=f"AwsSolutions-IAM5[Resource::{objects}]",
                reason="Each version is a key of its own, and a device may be told to run any of them.",
            )
        self._allow("LocateArtifactBucket", ["s3:GetBucketLocation"], object_arn(self, f"s3://{bucket}"))

    def allow_decryption(self, key: str) -> None:
        """Let devices read what is encrypted with a KMS key (ARN or alias)."""
        self.role.add_to_policy(key_statement(self, "DecryptPackages", ["kms:Decrypt"], key))
        acknowledge_key(self.role, key)

    def allow_edge_manager(self, *, fleet_name: str, deployments: bool) -> None:
        """Let SageMaker Edge Manager's agent do what AWS's managed policy allows, and what that policy lacks.

        The policy lacks `GetDeployments`, which the agent asks for where `deployments` is set (specification §1.2).
        """
        policy = "service-role/AmazonSageMakerEdgeDeviceFleetPolicy"
        self.role.add_managed_policy(iam.ManagedPolicy.from_aws_managed_policy_name(policy))
        acknowledge(
            self.role,
            rule=f"AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/{policy}]",
            reason="The documentation of Edge Manager on Greengrass asks for this policy on the token exchange role.",
        )
        if not deployments:
            return
        # The fleet's name is lower case in ARNs.
        fleet = regional_arn(self, "sagemaker", f"device-fleet/{fleet_name.lower()}")
        self.role.add_to_policy(
            iam.PolicyStatement(
                sid="GetDeployments", actions=["sagemaker:GetDeployments"], resources=[fleet, f"{fleet}/device/*"]
            )
        )
        acknowledge(
            self.role,
            rule=f"AwsSolutions-IAM5[Resource::{fleet}/device/*]",
            reason="Each device of the fleet asks for its own deployments with the one role.",
        )

    def _allow(self, sid: str, actions: list[str], resource: str) -> None:
        self.role.add_to_policy(iam.PolicyStatement(sid=sid, actions=actions, resources=[resource]))
