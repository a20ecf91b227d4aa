# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
import aws_cdk.aws_iam as iam
from constructs import Construct

from edge_constructs.acknowledge import acknowledge

# What Greengrass asks of AWS IoT on behalf of who reads or makes a deployment (service authorization reference).
_JOB_READING = ["iot:DescribeJob", "iot:DescribeJobExecution"]
_JOB_WRITING = ["iot:CancelJob", "iot:CreateJob", "iot:DescribeJob", "iot:UpdateJob"]


class ReleaseRoles(Construct):
    """What a pipeline may do in an environment's account beside deploying: look, and return to the last good release.

    Args:
        scope: the construct it stands in.
        id_: its id there.
        trusted_role_arn: the one role that may assume these, of any account.
        verifier_name: of the role that reads.
        restorer_name: of the role that records a verified release, and deploys it again.
        groups: the thing groups that may be deployed to.
        parameter: the SSM parameter of the last good release, with its leading slash.
        table: of the heartbeats.
        stack_prefix: of the names of the environment's stacks.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        trusted_role_arn: str,
        verifier_name: str,
        restorer_name: str,
        groups: Sequence[str],
        parameter: str,
        table: str,
        stack_prefix: str,
    ) -> None:
        super().__init__(scope, id_)
        stack = cdk.Stack.of(self)

        def arn(service: str, resource: str) -> str:
            return f"arn:{stack.partition}:{service}:{stack.region}:{stack.account}:{resource}"

        # Through the account, narrowed to the role: a role that is named alone must exist already, and is forgotten
        # when it is made again.
        account = trusted_role_arn.split(":")[4]
        trusted = iam.AccountPrincipal(account).with_conditions({"ArnEquals": {"aws:PrincipalArn": trusted_role_arn}})
        group_arns = [arn("iot", f"thinggroup/{name}") for name in groups]
        jobs, parameter_arn = arn("iot", "job/*"), arn("ssm", f"parameter{parameter}")
        devices, things = arn("greengrass", "coreDevices:*"), arn("iot", f"thing/{stack_prefix}-*")

        verifier = iam.Role(
            self,
            "Verifier",
            role_name=verifier_name,
            assumed_by=trusted,
            description="Reads what devices run and report; assumed by the delivery pipeline's verification",
        )
        for sid, actions, resources in (
            ("ReadStacks", ["cloudformation:DescribeStacks"], [arn("cloudformation", f"stack/{stack_prefix}-*/*")]),
            ("ReadDeployments", ["greengrass:GetDeployment"], [arn("greengrass", "deployments:*")]),
            # It takes no resource.
            ("ListDeployments", ["greengrass:ListDeployments"], ["*"]),
            (
                "ReadDevices",
                [
                    "greengrass:GetCoreDevice",
                    "greengrass:ListEffectiveDeployments",
                    "greengrass:ListInstalledComponents",
                ],
                [devices],
            ),
            ("ReadJobs", _JOB_READING, [jobs, things]),
            ("ReadThings", ["iot:DescribeThing", "iot:GetThingShadow"], [things]),
            ("ReadGroups", ["iot:DescribeThingGroup"], group_arns),
            ("ReadHeartbeats", ["dynamodb:BatchGetItem"], [arn("dynamodb", f"table/{table}")]),
            ("ReadLastGood", ["ssm:GetParameter"], [parameter_arn]),
        ):
            verifier.add_to_policy(iam.PolicyStatement(sid=sid, actions=actions, resources=resources))

        restorer = iam.Role(
            self,
            "Restorer",
            role_name=restorer_name,
            assumed_by=trusted,
            description="Records a verified release and deploys it again; assumed by the pipeline's verification",
        )
        for sid, actions, resources in (
            ("RecordLastGood", ["ssm:PutParameter"], [parameter_arn]),
            # It takes no resource: the job that it makes, with the caller's permissions, is what is confined below.
            ("Deploy", ["greengrass:CreateDeployment"], ["*"]),
            ("DeployToTheGroups", _JOB_WRITING, [jobs, *group_arns]),
            ("ReadGroups", ["iot:DescribeThingGroup"], group_arns),
        ):
            restorer.add_to_policy(iam.PolicyStatement(sid=sid, actions=actions, resources=resources))
        self._acknowledge(verifier, jobs, devices, stack_prefix)
        acknowledge(
            restorer,
            rule="AwsSolutions-IAM5[Resource::*]",
            reason="CreateDeployment takes no resource; where it may deploy to is told by iot:CreateJob on the groups.",
        )
        acknowledge(
            restorer,
            rule=f"AwsSolutions-IAM5[Resource::{jobs}]",
            reason="Greengrass names its jobs itself, and a job of another target needs that target's permission, too.",
        )

    @staticmethod
    def _acknowledge(verifier: iam.Role, jobs: str, devices: str, prefix: str) -> None:
        stack = cdk.Stack.of(verifier)
        place = f"arn:{stack.partition}:%s:{stack.region}:{stack.account}"
        for resource, reason in {
            "*": "ListDeployments takes no resource; it lists ids and states, and nothing of what is deployed.",
            f"{place % 'cloudformation'}:stack/{prefix}-*/*": "CloudFormation gives every stack an id of its own.",
            f"{place % 'greengrass'}:deployments:*": "Greengrass names its deployments itself.",
            devices: "Core devices come with the environment's file; reading those of others tells their versions.",
            jobs: "Greengrass names its jobs itself; they are only read.",
            f"{place % 'iot'}:thing/{prefix}-*": "Things come with the environment's file; they are only read.",
        }.items():
            acknowledge(verifier, rule=f"AwsSolutions-IAM5[Resource::{resource}]", reason=reason)
