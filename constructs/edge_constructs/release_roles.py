# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping, Sequence

import aws_cdk.aws_iam as iam
from constructs import Construct

from edge_constructs.acknowledge import acknowledge
from edge_constructs.arns import regional_arn

_DEVICE_READING = [
    "greengrass:GetCoreDevice",
    "greengrass:ListEffectiveDeployments",
    "greengrass:ListInstalledComponents",
]
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
        # Through the account, narrowed to the role: a role that is named alone must exist already, and is forgotten
        # when it is made again.
        account = trusted_role_arn.split(":")[4]
        self._trusted = iam.AccountPrincipal(account).with_conditions(
            {"ArnEquals": {"aws:PrincipalArn": trusted_role_arn}}
        )
        group_arns = [regional_arn(self, "iot", f"thinggroup/{name}") for name in groups]
        last_good = regional_arn(self, "ssm", f"parameter{parameter}")
        stacks = regional_arn(self, "cloudformation", f"stack/{stack_prefix}-*/*")
        deployments = regional_arn(self, "greengrass", "deployments:*")
        devices = regional_arn(self, "greengrass", "coreDevices:*")
        things, jobs = regional_arn(self, "iot", f"thing/{stack_prefix}-*"), regional_arn(self, "iot", "job/*")
        self._role(
            "Verifier",
            name=verifier_name,
            description="Reads what devices run and report; assumed by the delivery pipeline's verification",
            statements=(
                ("ReadStacks", ["cloudformation:DescribeStacks"], [stacks]),
                ("ReadDeployments", ["greengrass:GetDeployment"], [deployments]),
                ("ListDeployments", ["greengrass:ListDeployments"], ["*"]),
                ("ReadDevices", _DEVICE_READING, [devices]),
                ("ReadJobs", _JOB_READING, [jobs, things]),
                ("ReadThings", ["iot:DescribeThing", "iot:GetThingShadow"], [things]),
                ("ReadGroups", ["iot:DescribeThingGroup"], group_arns),
                ("ReadHeartbeats", ["dynamodb:BatchGetItem"], [regional_arn(self, "dynamodb", f"table/{table}")]),
                ("ReadLastGood", ["ssm:GetParameter"], [last_good]),
            ),
            wide={
                "*": "ListDeployments takes no resource; it lists ids and states, and nothing of what is deployed.",
                stacks: "CloudFormation gives every stack an id of its own.",
                deployments: "Greengrass names its deployments itself.",
                devices: "Core devices come with the environment's file; reading those of others tells their versions.",
                jobs: "Greengrass names its jobs itself; they are only read.",
                things: "Things come with the environment's file; they are only read.",
            },
        )
        self._role(
            "Restorer",
            name=restorer_name,
            description="Records a verified release and deploys it again; assumed by the pipeline's verification",
            statements=(
                ("RecordLastGood", ["ssm:PutParameter"], [last_good]),
                # The job that it makes, with the caller's permissions, is what is confined below.
                ("Deploy", ["greengrass:CreateDeployment"], ["*"]),
                ("DeployToTheGroups", _JOB_WRITING, [jobs, *group_arns]),
                ("ReadGroups", ["iot:DescribeThingGroup"], group_arns),
            ),
            wide={
                "*": "CreateDeployment takes no resource; where it may deploy to is told by iot:CreateJob on the "
                "groups.",
                jobs: "Greengrass names its jobs itself, and a job of another target needs that target's permission, "
                "too.",
            },
        )

    def _role(
        self,
        id_: str,
        *,
        name: str,
        description: str,
        statements: Sequence[tuple[str, list[str], list[str]]],
        wide: Mapping[str, str],
    ) -> None:
        """Make a role of statements (sid, actions, resources); `wide` has the reason of each resource with a star."""
        role = iam.Role(self, id_, role_name=name, assumed_by=self._trusted, description=description)
        for sid, actions, resources in statements:
            role.add_to_policy(iam.PolicyStatement(sid=sid, actions=actions, resources=resources))
        for resource, reason in wide.items():
            acknowledge(role, rule=f"AwsSolutions-IAM5[Resource::{resource}]", reason=reason)
