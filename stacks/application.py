# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks

from edge_constructs.component_lock import ComponentLockError
from edge_constructs.job_rules import JobPropertyError
from edge_constructs.model_folder import ModelFolderError
from edge_constructs.wheels import WheelsError
from edge_package import PackageError
from edge_recipe import RecipeError
from stacks.components import ROOT
from stacks.delivery import DeliveryStack
from stacks.delivery_settings import Delivery, check_partition, load_delivery
from stacks.environment import (
    DISCONTINUED,
    DOCUMENTATION_ACCOUNT,
    Environment,
    EnvironmentFileError,
    check_together,
    load_environment,
    overrides_for,
)
from stacks.stage import EnvironmentStage

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
    app = _app(root, context, outdir)
    environments = _environments(app, folders or (root / "environments",), variables)
    wanted = app.node.try_get_context("env")
    delivery = _delivery(root, variables)
    if delivery is not None and wanted is None:
        _check_deliverable([one for one in environments if one.name in delivery.environments])
    if delivery is not None:
        check_partition(delivery, [one for one in environments if wanted in {None, one.name}])
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


def _app(root: Path, context: Mapping[str, Any] | None, outdir: str | None) -> cdk.App:
    """An app without stacks: its settings, and the rules that all of it is held against."""
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
    return app


def _environments(app: cdk.App, folders: Sequence[Path], variables: Mapping[str, str] | None) -> list[Environment]:
    """Every environment, whichever is wanted, so that each is checked, and against the others."""
    paths = {path.stem: path for folder in folders for path in sorted(folder.glob("*.toml"))}
    wanted = app.node.try_get_context("env")
    if wanted is not None and wanted not in paths:
        raise EnvironmentFileError(f"context env: one of {', '.join(paths)} is expected, got {wanted!r}")
    context = app.node.get_all_context()
    environments = [
        load_environment(path, overrides=overrides_for(name, context), variables=variables)
        for name, path in paths.items()
    ]
    check_together(environments)
    return environments


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
