# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import aws_cdk as cdk
import aws_cdk.aws_s3 as s3
from constructs import Construct

from edge_constructs.device_fleet import DeviceFleet
from edge_constructs.device_policy import DevicePolicy
from edge_constructs.private_bucket import PrivateBucket
from edge_constructs.release_roles import ReleaseRoles
from edge_constructs.sagemaker_fleet import SageMakerFleet
from edge_constructs.signing_key import SigningKey
from edge_constructs.token_exchange import TokenExchange
from stacks.configuration import HEARTBEAT_TOPIC
from stacks.environment import Environment
from stacks.log_retention import log_retention


class FleetStack(cdk.Stack):
    """What outlives every release: buckets, the devices' role and alias, their IoT policy, groups and things."""

    def __init__(
        self, scope: Construct, id_: str, *, environment: Environment, pipeline_role: str | None, **kwargs: Any
    ) -> None:
        super().__init__(scope, id_, **kwargs)
        self._buckets(environment)
        exchange = TokenExchange(
            self, "TokenExchange", role_name=environment.device_role, alias_name=environment.role_alias
        )
        exchange.allow_capture(bucket=environment.capture_bucket, prefix=environment.capture.folder_prefix)
        exchange.allow_artifacts(bucket=environment.artifact_bucket, prefixes=["components", "models"])
        if environment.packaging.kms_key_id:
            exchange.allow_decryption(environment.packaging.kms_key_id)
        DevicePolicy(
            self,
            "DevicePolicy",
            policy_name=environment.device_policy,
            thing_prefix=f"{environment.namespace}-",
            role_alias_arn=exchange.alias.attr_role_alias_arn,
            topics=[*environment.topics, HEARTBEAT_TOPIC],
        )
        devices = DeviceFleet(
            self,
            "Devices",
            fleet_name=environment.thing_group,
            thing_prefix=f"{environment.namespace}-",
            things={
                name: environment.canary_group if name in environment.canary_things else environment.thing_group
                for name in environment.thing_names
            },
            other_groups=[environment.canary_group],
            log_retention=log_retention(environment),
        )
        if environment.edge_manager == "sagemaker":
            SageMakerFleet(
                self,
                "SageMaker",
                fleet_name=environment.thing_group,
                devices=devices,
                exchange=exchange,
                capture_location=f"s3://{environment.capture_bucket}/{environment.capture.folder_prefix}",
                deployments=environment.agent.deployment_enable,
            )
        else:
            for alias in environment.signing_aliases:
                SigningKey(self, f"SigningKey-{alias.rpartition('-model-signing-')[2]}", alias_name=alias)
        if pipeline_role is not None:
            ReleaseRoles(
                self,
                "Release",
                trusted_role_arn=pipeline_role,
                verifier_name=environment.verifier_role,
                restorer_name=environment.restorer_role,
                groups=list(dict.fromkeys([environment.first_group, environment.thing_group])),
                parameter=environment.last_good_parameter,
                table=environment.heartbeat_table,
                stack_prefix=environment.namespace,
            )

    def _buckets(self, environment: Environment) -> None:
        captures = s3.LifecycleRule(
            id="captures",
            prefix=f"{environment.capture.folder_prefix}/",
            expiration=cdk.Duration.days(environment.retention.captures_days),
        )
        former = s3.LifecycleRule(id="former-versions", noncurrent_version_expiration=cdk.Duration.days(90))
        for id_, name, versioned, rule in (
            ("Captures", environment.capture_bucket, False, captures),
            ("Artifacts", environment.artifact_bucket, True, former),
        ):
            PrivateBucket(self, id_, bucket_name=name, versioned=versioned, lifecycle_rules=[rule])
