# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import aws_cdk as cdk
from constructs import Construct

from edge_constructs.component_lock import ComponentLock
from stacks.components import ROOT, load_model, load_sources
from stacks.environment import DISCONTINUED, Environment
from stacks.fleet import FleetStack
from stacks.models import ModelsStack
from stacks.monitoring import MonitoringStack
from stacks.release import ReleaseStack
from stacks.rollout import RolloutStack


class EnvironmentStage(cdk.Stage):
    """One environment, whole: the stacks of `stacks.order`, deployed in that order.

    Args:
        scope: the construct it stands in.
        id_: the environment's name.
        environment: its settings.
        pipeline_role: ARN of the role of a delivery pipeline that verifies and restores releases here.
        root: where models, components and lock lie.

    Attributes:
        release: its deployment goes to the first group of devices.
        rollout: its deployment goes to the fleet after the canaries; None without canaries.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        environment: Environment,
        pipeline_role: str | None = None,
        root: Path = ROOT,
    ) -> None:
        super().__init__(scope, id_, env=cdk.Environment(account=environment.account, region=environment.region))
        self.environment = environment
        self._warn_of_discontinued()
        model = load_model(environment.inference.model, task="image-classification", root=root)
        detection = environment.detection
        detector = None if detection is None else load_model(detection.model, task="object-detection", root=root)
        lock = ComponentLock.read(root / "components.lock")
        prefix = environment.namespace
        folders = [model] if detector is None else [model, detector]
        fleet = FleetStack(
            self, "Fleet", environment=environment, pipeline_role=pipeline_role, stack_name=f"{prefix}-Fleet"
        )
        models = ModelsStack(
            self, "Models", environment=environment, models=folders, lock=lock, stack_name=f"{prefix}-Models"
        )
        self.release = ReleaseStack(
            self,
            "Release",
            environment=environment,
            sources=load_sources(root),
            model=model,
            detector=detector,
            lock=lock,
            stack_name=f"{prefix}-Release",
        )
        models.add_stack_dependency(fleet)
        self.release.add_stack_dependency(models)
        if environment.edge_manager == "open":
            name = f"{prefix}-Monitoring"
            monitoring = MonitoringStack(self, "Monitoring", environment=environment, models=folders, stack_name=name)
            monitoring.add_stack_dependency(fleet)
            self.release.add_stack_dependency(monitoring)  # a release's first heartbeats find their table
        self.rollout: RolloutStack | None = None
        if environment.canaries:
            self.rollout = RolloutStack(
                self,
                "Rollout",
                environment=environment,
                components=self.release.components,
                stack_name=f"{prefix}-Rollout",
            )
            self.rollout.add_stack_dependency(self.release)

    def _warn_of_discontinued(self) -> None:
        if self.environment.edge_manager == "sagemaker":
            cdk.Annotations.of(self).add_warning_v2(
                "edge-manager:discontinued",
                f"{self.environment.name}: {DISCONTINUED}: this synthesises, and does not deploy; "
                'edge_manager = "open" does',
            )
