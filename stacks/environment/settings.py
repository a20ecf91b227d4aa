# SPDX-License-Identifier: Apache-2.0
"""An environment: its file's tables, and the names that follow from them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edge_constructs.compilation_settings import CompilationSettings
from edge_constructs.packaging_settings import PackagingSettings
from edge_constructs.rollout_settings import RolloutSettings
from stacks.environment.tables import (
    Agent,
    Alarms,
    Artifacts,
    Capture,
    Detection,
    DeviceName,
    Greengrass,
    Heartbeat,
    Inference,
    Retention,
    Signing,
    Verification,
    table,
)


@table
class Environment:
    """One environment, whole. `account` and `region` come from the process's environment, not from the file."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,20}$")]
    account: Annotated[str, Field(pattern=r"^\d{12}$")]
    region: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")]
    namespace: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{0,14}$")]
    edge_manager: Literal["open", "sagemaker"] = "open"
    acknowledge_discontinued: bool = False
    devices: Annotated[tuple[DeviceName, ...], Field(min_length=1)]
    canaries: Annotated[tuple[DeviceName, ...], Field(max_length=20)] = ()
    retention: Retention = Field(default_factory=Retention)
    greengrass: Greengrass
    agent: Agent = Field(default_factory=Agent)
    artifacts: Artifacts = Field(default_factory=Artifacts)
    capture: Capture = Field(default_factory=Capture)
    rollout: RolloutSettings = Field(default_factory=RolloutSettings)
    heartbeat: Heartbeat = Field(default_factory=Heartbeat)
    verification: Verification = Field(default_factory=Verification)
    alarms: Alarms = Field(default_factory=Alarms)
    signing: Signing = Field(default_factory=Signing)
    compilation: CompilationSettings | None = None
    packaging: PackagingSettings = Field(default_factory=PackagingSettings)
    inference: Inference
    detection: Detection | None = None

    @property
    def topics(self) -> tuple[str, ...]:
        """Where results are published: one topic for each inference component that is deployed and publishes."""
        deployed = (self.inference, self.detection)
        return tuple(dict.fromkeys(one.topic for one in deployed if one is not None and one.topic))

    @property
    def signing_aliases(self) -> tuple[str, ...]:
        """The KMS aliases of the keys that sign model packages; the first signs."""
        return tuple(f"alias/{self.namespace}-model-signing-{key}" for key in self.signing.keys)

    @property
    def thing_names(self) -> tuple[str, ...]:
        """The IoT thing of each device, which is also its Edge Manager device name."""
        return tuple(f"{self.namespace}-{device}" for device in self.devices)

    @property
    def canary_things(self) -> tuple[str, ...]:
        """The things that get a release first; they are in the canary group, and not in the fleet's."""
        return tuple(f"{self.namespace}-{device}" for device in self.canaries)

    @property
    def fleet_things(self) -> tuple[str, ...]:
        """The things of the fleet's group: all that are no canaries."""
        return tuple(name for name in self.thing_names if name not in self.canary_things)

    @property
    def thing_group(self) -> str:
        """The fleet's thing group; Edge Manager's fleet name in open mode, for canaries as well."""
        return f"{self.namespace}-fleet"

    @property
    def canary_group(self) -> str:
        """The thing group of the canaries; there is none without canaries."""
        return f"{self.namespace}-canary"

    @property
    def first_group(self) -> str:
        """The thing group that a release reaches first, and is verified on."""
        return self.canary_group if self.canaries else self.thing_group

    @property
    def heartbeat_table(self) -> str:
        """The DynamoDB table that holds each device's last heartbeat."""
        return f"{self.namespace}-heartbeats"

    @property
    def last_good_parameter(self) -> str:
        """The SSM parameter that holds the deployment documents of the release that passed verification last."""
        return f"/{self.namespace}/edge-manager/last-good"

    @property
    def verifier_role(self) -> str:
        """The role that reads what verification asks."""
        return f"{self.namespace}-verifier"

    @property
    def restorer_role(self) -> str:
        """The role that records a verified release and restores it."""
        return f"{self.namespace}-restorer"

    @property
    def declared_models(self) -> str:
        """Prefix of the parameters that tell, by a model's name, which version and digest is declared."""
        return f"/edge-manager/{self.namespace}/models/"

    @property
    def longest_rollout_minutes(self) -> int:
        """How long a release may take: its first group and verification, then device after device, each in its time."""
        rollout = self.rollout
        slowest = rollout.maximum_per_minute if rollout.exponential is None else rollout.exponential.base_per_minute
        starting = -(-len(self.devices) // slowest)
        return starting + 2 * rollout.in_progress_minutes + self.verification.wait_minutes

    @property
    def device_role(self) -> str:
        """The token exchange role; SageMaker requires the prefix."""
        return f"SageMaker-{self.namespace}-device"

    @property
    def role_alias(self) -> str:
        """The role alias, in the form that AmazonSageMakerEdgeDeviceFleetPolicy expects."""
        return f"SageMakerEdge-{self.namespace}"

    @property
    def device_policy(self) -> str:
        """The IoT policy of the devices' certificates."""
        return f"{self.namespace}-core-device"

    @property
    def capture_bucket(self) -> str:
        """Edge Manager requires `sagemaker` in its name."""
        return f"sagemaker-{self.namespace}-captures-{self.account}-{self.region}"

    @property
    def artifact_bucket(self) -> str:
        """Component artifacts and model packages.

        Without `sagemaker` in its name: AmazonSageMakerEdgeDeviceFleetPolicy would let devices write to it.
        """
        return f"edge-{self.namespace}-artifacts-{self.account}-{self.region}"
