# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks
from constructs import Construct

from edge_constructs.component_lock import ComponentLock, ComponentLockError
from edge_constructs.job_rules import JobPropertyError
from edge_constructs.model_folder import ModelFolderError
from edge_constructs.wheels import WheelsError
from edge_package import PackageError
from edge_recipe import RecipeError
from stacks.components import ROOT, load_model, load_sources
from stacks.delivery import DeliveryStack
from stacks.delivery_settings import Delivery, load_delivery
from stacks.environment import (
    DISCONTINUED,
    DOCUMENTATION_ACCOUNT,
    Environment,
    EnvironmentFileError,
    check_together,
    load_environment,
    overrides_for,
)
from stacks.fleet import FleetStack
from stacks.models import ModelsStack
from stacks.monitoring import MonitoringStack
from stacks.release import ReleaseStack
from stacks.rollout import RolloutStack

ENVIRONMENTS = ROOT / "environments"
# What a person did wrong, as opposed to this program: shown as a message, without a traceback.
INPUT_ERRORS = (
    ComponentLockError,
    EnvironmentFileError,
    JobPropertyError,
    ModelFolderError,
    PackageError,
    RecipeError,
    WheelsError,
)


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
        if environment.edge_manager == "sagemaker":
            cdk.Annotations.of(self).add_warning_v2(
                "edge-manager:discontinued",
                f"{environment.name}: {DISCONTINUED}: this synthesises, and does not deploy; "
                'edge_manager = "open" does',
            )
        model = load_model(environment.inference.model, task="image-classification", root=root)
        detection = environment.detection
        detector = None if detection is None else load_model(detection.model, task="object-detection", root=root)
        lock = ComponentLock.read(root / "components.lock")
        prefix = environment.namespace
        fleet = FleetStack(
            self, "Fleet", environment=environment, pipeline_role=pipeline_role, stack_name=f"{prefix}-Fleet"
        )
        folders = [model] if detector is None else [model, detector]
        models = ModelsStack(
            self,
            "Models",
            environment=environment,
            models=folders,
            lock=lock,
            stack_name=f"{prefix}-Models",
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


def build_app(
    *,
    context: Mapping[str, Any] | None = None,
    outdir: str | None = None,
    folders: Sequence[Path] | None = None,
    root: Path = ROOT,
    variables: Mapping[str, str] | None = None,
) -> cdk.App:
    """The CDK app with every environment of `folders` (`environments/`), or the one that the context's `env` names.

    The delivery pipeline is there with all the environments that it delivers to.

    cdk.json's context is read here as well, so that tests and `python app.py` synthesise what the CLI does.

    Args:
        context: over that of cdk.json.
        outdir: the cloud assembly's folder.
        folders: where the environments' files lie.
        root: this project's folder, or another state of it, whose components, models and lock are taken.
        variables: where accounts and regions are looked up; the process's own by default.

    Raises:
        EnvironmentFileError: `env` names no environment, or an environment is wrong.
    """
    settings = json.loads((root / "cdk.json").read_text(encoding="utf-8"))["context"]
    app = cdk.App(
        context={**settings, **(context or {})},
        outdir=outdir,
        analytics_reporting=False,
        builtin_cloud_formation_validation=False,  # cfn-lint looks at the same, in a third of the time (make check)
        stack_traces=False,  # they name a temporary folder, so no two runs would be equal
        default_stack_synthesizer=cdk.DefaultStackSynthesizer(generate_bootstrap_version_rule=False),
    )
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    paths = {
        path.stem: path for folder in folders or (root / "environments",) for path in sorted(folder.glob("*.toml"))
    }
    wanted = app.node.try_get_context("env")
    if wanted is not None and wanted not in paths:
        raise EnvironmentFileError(f"context env: one of {', '.join(paths)} is expected, got {wanted!r}")
    context = app.node.get_all_context()
    environments = [
        load_environment(path, overrides=overrides_for(name, context), variables=variables)
        for name, path in paths.items()
    ]
    check_together(environments)
    delivery = _delivery(root, variables)
    if delivery is not None and wanted is None:
        _check_deliverable([one for one in environments if one.name in delivery.environments])
    stages = {
        environment.name: EnvironmentStage(
            app,
            environment.name,
            environment=environment,
            pipeline_role=None if delivery is None else _pipeline_role(delivery, environment),
            root=root,
        )
        for environment in environments
        if wanted in {None, environment.name}
    }
    if delivery is not None and stages.keys() >= set(delivery.environments):
        DeliveryStack(
            app,
            "Delivery",
            delivery=delivery,
            stages=[stages[name] for name in delivery.environments],
            env=cdk.Environment(account=delivery.account, region=delivery.region),
            stack_name="edge-delivery",
        )
    return app


def _delivery(root: Path, variables: Mapping[str, str] | None) -> Delivery | None:
    """The pipeline's settings; a former state of the project may have none."""
    path = root / "delivery.toml"
    return load_delivery(path, variables=variables) if root == ROOT or path.exists() else None


def _check_deliverable(environments: Sequence[Environment]) -> None:
    if gone := [environment.name for environment in environments if environment.edge_manager != "open"]:
        raise EnvironmentFileError(
            f'delivery.toml: environments: those with edge_manager = "open" are expected, but '
            f'{", ".join(gone)}: edge_manager = "sagemaker": {DISCONTINUED}, so a pipeline can neither deploy nor '
            'verify it: take it out of delivery.toml, or set edge_manager = "open"'
        )


def _pipeline_role(delivery: Delivery, environment: Environment) -> str | None:
    """The role that an environment trusts; a real account cannot trust a pipeline in one that is nobody's."""
    nowhere = delivery.account == DOCUMENTATION_ACCOUNT != environment.account
    if nowhere or environment.name not in delivery.environments or environment.edge_manager != "open":
        return None
    return delivery.verify_role_arn(environment.name)
