# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import aws_cdk.aws_iot as iot
from constructs import Construct

from edge_constructs.arns import regional_arn


class DevicePolicy(Construct):
    """The IoT policy of core devices' certificates: AWS's documented minimum, bounded by the things' name prefix.

    Thing policy variables are not supported for core devices, so the bound is a prefix (AWS IoT Greengrass V2
    developer guide, “Minimal AWS IoT policy for AWS IoT Greengrass V2 core devices”).

    Args:
        scope: the construct it stands in.
        id_: its id there.
        policy_name: its name in the account.
        thing_prefix: what every thing's name starts with.
        role_alias_arn: the alias that devices take credentials from.
        topics: IoT Core topics that components publish to.
    """

    def __init__(
        self, scope: Construct, id_: str, *, policy_name: str, thing_prefix: str, role_alias_arn: str, topics: list[str]
    ) -> None:
        super().__init__(scope, id_)
        things = f"$aws/things/{thing_prefix}*"
        reserved = [
            f"{things}/greengrass/health/json",
            f"{things}/greengrassv2/health/json",
            f"{things}/jobs/*",
            f"{things}/shadow/*",
        ]

        def allow(actions: list[str], resources: list[str]) -> dict[str, object]:
            return {"Effect": "Allow", "Action": actions, "Resource": resources}

        def iot_arn(resource: str) -> str:
            return regional_arn(self, "iot", resource)

        def greengrass_arn(resource: str) -> str:
            return regional_arn(self, "greengrass", resource)

        self.policy = iot.CfnPolicy(
            self,
            "Policy",
            policy_name=policy_name,
            policy_document={
                "Version": "2012-10-17",
                "Statement": [
                    allow(["iot:Connect"], [iot_arn(f"client/{thing_prefix}*")]),
                    allow(
                        ["iot:Publish", "iot:Receive"], [iot_arn(f"topic/{topic}") for topic in [*reserved, *topics]]
                    ),
                    allow(["iot:Subscribe"], [iot_arn(f"topicfilter/{topic}") for topic in reserved]),
                    allow(["iot:AssumeRoleWithCertificate"], [role_alias_arn]),
                    allow(
                        ["greengrass:GetComponentVersionArtifact", "greengrass:ResolveComponentCandidates"],
                        [greengrass_arn("components:*")],
                    ),
                    allow(["greengrass:GetDeploymentConfiguration"], [greengrass_arn("deployments:*")]),
                    allow(
                        ["greengrass:ListThingGroupsForCoreDevice"], [greengrass_arn(f"coreDevices:{thing_prefix}*")]
                    ),
                ],
            },
        )
