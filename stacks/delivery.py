# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import aws_cdk as cdk
import aws_cdk.aws_codebuild as codebuild
from aws_cdk import pipelines
from constructs import Construct

from edge_constructs.change_approval import ChangeApproval
from edge_constructs.pipeline_artifacts import PipelineArtifacts
from edge_constructs.pipeline_findings import acknowledge_pipeline
from edge_constructs.pipeline_permissions import allow_connection, confine_asset_publishing
from edge_constructs.release_verification import ReleaseVerification
from stacks.components import ROOT
from stacks.delivery_settings import Delivery
from stacks.environment import Environment, EnvironmentFileError
from stacks.stage import EnvironmentStage

_REPORT_DAYS = 365
# What installing and starting takes, on top of a verification and a restore.
_MARGIN_MINUTES = 30
# What a build has in every region; where it may have more, nobody waits so long for a release.
_LONGEST_MINUTES = 480


class DeliveryStack(cdk.Stack):
    """The pipeline: checks, one synth, then environment after environment from the same cloud assembly.

    It changes itself first. In each environment the release is verified on its first devices before the others get it,
    and on all of them before the next environment does.
    """

    def __init__(
        self, scope: Construct, id_: str, *, delivery: Delivery, stages: Sequence[EnvironmentStage], **kwargs: Any
    ) -> None:
        super().__init__(scope, id_, **kwargs)
        self._delivery = delivery
        self._source = pipelines.CodePipelineSource.connection(
            delivery.repository,
            delivery.branch,
            connection_arn=delivery.connection,
            code_build_clone_output=True,  # with the history: change reports are held against what runs
        )
        self._variables = {
            "EDGE_DELIVERY_ACCOUNT": delivery.account,
            "EDGE_DELIVERY_REGION": delivery.region,
            "EDGE_DELIVERY_CONNECTION": delivery.connection,
        }
        for stage in stages:
            self._variables |= _place(stage.environment)
        self._artifacts = PipelineArtifacts(self, "Artifacts", keep_days=_REPORT_DAYS)
        package = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))
        self.pipeline = pipelines.CodePipeline(
            self,
            "Pipeline",
            pipeline_name="edge-delivery",
            synth=self._synth(),
            cli_version=package["devDependencies"]["aws-cdk"],
            cdk_assets_cli_version=package["config"]["cdk-assets"],
            artifact_bucket=self._artifacts,
            cross_account_keys=True,
            enable_key_rotation=True,
            publish_assets_in_parallel=False,  # one project, and a template that a new asset does not change
            code_build_defaults=pipelines.CodeBuildOptions(
                build_environment=codebuild.BuildEnvironment(build_image=codebuild.LinuxBuildImage.STANDARD_7_0),
                partial_build_spec=codebuild.BuildSpec.from_object(
                    {"phases": {"install": {"runtime-versions": {"nodejs": "22", "python": "3.12"}}}}
                ),
            ),
        )
        for stage in stages:
            self._deliver_to(stage)
        self.pipeline.build_pipeline()
        allow_connection(self, delivery.connection)
        confine_asset_publishing(self.pipeline)
        acknowledge_pipeline(self, self.pipeline)

    def _synth(self) -> pipelines.CodeBuildStep:
        """`make check` ends with the one synth, of everything, whose output is deployed: what was checked."""
        return pipelines.CodeBuildStep(
            "Synth",
            input=self._source,
            env=self._variables,
            install_commands=["make --no-print-directory setup"],
            commands=["make --no-print-directory check"],
            primary_output_directory="cdk.out",
            build_environment=codebuild.BuildEnvironment(compute_type=codebuild.ComputeType.MEDIUM),
        )

    def _deliver_to(self, stage: EnvironmentStage) -> None:
        delivery, environment = self._delivery, stage.environment
        name = environment.name
        roles = (environment.verifier_role, environment.restorer_role)
        verification = ReleaseVerification(
            self,
            f"Verification-{name}",
            environment=name,
            source=self._source,
            role_name=delivery.verify_role(name),
            assumable=[f"arn:{self.partition}:iam::{environment.account}:role/{role}" for role in roles],
            commit_parameter=delivery.commit_parameter(name),
            variables=_place(environment),
            timeout=_time_to_verify(environment),
        )
        before: list[pipelines.Step] = []
        if name in delivery.approval:
            before += ChangeApproval(
                self,
                f"Approval-{name}",
                environment=name,
                source=self._source,
                base=delivery.report_base,
                commit_parameter=delivery.commit_parameter(name),
                bucket=self._artifacts,
            ).steps
        canaries = (
            []
            if stage.rollout is None
            else [pipelines.StackSteps(stack=stage.rollout, pre=[verification.first_group()])]
        )
        self.pipeline.add_stage(stage, pre=before, stack_steps=canaries, post=[verification.every_group()])


def _time_to_verify(environment: Environment) -> cdk.Duration:
    """Two groups, and a restore after them."""
    wait = environment.verification.wait_minutes
    if (minutes := 3 * wait + _MARGIN_MINUTES) > _LONGEST_MINUTES:
        raise EnvironmentFileError(
            f"environments/{environment.name}.toml: verification.wait_minutes: at most "
            f"{(_LONGEST_MINUTES - _MARGIN_MINUTES) // 3} is expected, as delivery.toml names this environment and "
            f"CodeBuild ends a build after {_LONGEST_MINUTES // 60} hours, got {wait}: a restore would be cut off; "
            "wait for less, or deliver it without the pipeline"
        )
    return cdk.Duration.minutes(minutes)


def _place(environment: Environment) -> Mapping[str, str]:
    prefix = f"EDGE_{environment.name.upper().replace('-', '_')}"
    return {f"{prefix}_ACCOUNT": environment.account, f"{prefix}_REGION": environment.region}
