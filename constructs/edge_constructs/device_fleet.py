# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping, Sequence

import aws_cdk as cdk
import aws_cdk.aws_iam as iam
import aws_cdk.aws_iot as iot
import aws_cdk.aws_logs as logs
from constructs import Construct

from edge_constructs.acknowledge import acknowledge
from edge_constructs.arns import regional_arn
from edge_constructs.custom_resource import CustomResourceProvider


class DeviceFleet(Construct):
    """The open fleet: thing groups, a thing for each device, and the things' membership of one group each.

    Args:
        scope: the construct it stands in.
        id_: its id there.
        fleet_name: the fleet's thing group, and Edge Manager's `DeviceFleetName` on all devices.
        thing_prefix: what every thing's name starts with.
        things: each device's thing, and the group that it is in: the fleet's, or one of `other_groups`.
        other_groups: names of the groups beside the fleet's. One that no thing is in is not made; a thing that was in
            it may still leave it.
        log_retention: of the membership handler's logs.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        fleet_name: str,
        thing_prefix: str,
        things: Mapping[str, str],
        other_groups: Sequence[str],
        log_retention: logs.RetentionDays,
    ) -> None:
        super().__init__(scope, id_)
        things_arn = regional_arn(self, "iot", f"thing/{thing_prefix}*")
        self.groups = {fleet_name: iot.CfnThingGroup(self, "Group", thing_group_name=fleet_name)}
        for name in other_groups:
            if name in things.values():
                self.groups[name] = iot.CfnThingGroup(self, f"Group-{name}", thing_group_name=name)
        membership = CustomResourceProvider(
            self,
            "Membership",
            handler="group_membership_handler",
            statements=[
                iam.PolicyStatement(
                    sid="ChangeMembership",
                    actions=["iot:AddThingToThingGroup", "iot:RemoveThingFromThingGroup"],
                    resources=[
                        # Also of what is not there any more, and things by prefix: what is taken out of the list is
                        # removed with the policy that no longer names it.
                        *(regional_arn(self, "iot", f"thinggroup/{name}") for name in (fleet_name, *other_groups)),
                        things_arn,
                    ],
                )
            ],
            log_retention=log_retention,
        )
        acknowledge(
            membership,
            rule=f"AwsSolutions-IAM5[Resource::{things_arn}]",
            reason="A device that leaves the environment must still be taken out of the group.",
        )
        self.things: dict[str, iot.CfnThing] = {}
        for name, group in things.items():
            thing = self.things[name] = iot.CfnThing(self, f"Thing-{name}", thing_name=name)
            member = cdk.CustomResource(
                self,
                f"Member-{name}",
                resource_type="Custom::ThingGroupMembership",
                service_token=membership.service_token,
                service_timeout=cdk.Duration.minutes(5),
                properties={"ThingGroupName": group, "ThingName": name},
            )
            member.node.add_dependency(thing, self.groups[group])
