# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import aws_cdk.aws_sagemaker as sagemaker
from constructs import Construct

from edge_constructs.device_fleet import DeviceFleet
from edge_constructs.token_exchange import TokenExchange


class SageMakerFleet(Construct):
    """SageMaker Edge Manager's fleet and its devices, as AWS documented them until 26 April 2024.

    On Greengrass the fleet has the core devices' own role, and each device is named as its thing.

    Args:
        scope: the construct it stands in.
        id_: its id there.
        fleet_name: Edge Manager's `DeviceFleetName`.
        devices: the things.
        exchange: the devices' role and alias.
        capture_location: `s3://bucket/prefix` of the captures.
        deployments: whether agents ask for Edge Manager's own deployments.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        fleet_name: str,
        devices: DeviceFleet,
        exchange: TokenExchange,
        capture_location: str,
        deployments: bool,
    ) -> None:
        super().__init__(scope, id_)
        exchange.allow_edge_manager(fleet_name=fleet_name, deployments=deployments)
        self.fleet = sagemaker.CfnDeviceFleet(
            self,
            "Fleet",
            device_fleet_name=fleet_name,
            description="The Greengrass core devices of this environment.",
            role_arn=exchange.role.role_arn,
            output_config=sagemaker.CfnDeviceFleet.EdgeOutputConfigProperty(s3_output_location=capture_location),
        )
        # The alias is declared, not left to EnableIotRoleAlias, whose default nobody can tell (specification §1.4).
        self.fleet.node.add_dependency(exchange.alias, exchange.role)
        for name, thing in devices.things.items():
            device = sagemaker.CfnDevice(
                self,
                f"Device-{name}",
                device_fleet_name=fleet_name,
                device=sagemaker.CfnDevice.DeviceProperty(device_name=name, iot_thing_name=name),
            )
            device.node.add_dependency(self.fleet, thing)
