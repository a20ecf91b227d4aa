# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import tempfile
from pathlib import Path

import aws_cdk as cdk
import aws_cdk.aws_iam as iam
import aws_cdk.aws_logs as logs
import aws_cdk.aws_s3_assets as s3_assets
from constructs import Construct

from edge_constructs.acknowledge import acknowledge
from edge_constructs.arns import object_arn
from edge_constructs.compilation_input import input_config, target_config, write_archive
from edge_constructs.compilation_settings import CompilationSettings
from edge_constructs.job_rules import ENTITY_NAME, check_family, check_text, check_uri
from edge_constructs.model_folder import ModelFolder
from edge_constructs.model_source import ModelSource
from edge_constructs.packaging_job import LONGEST_JOB_NAME
from edge_constructs.sagemaker_access import job_provider, pass_role, sagemaker_role, see_missing

# What may pass before SageMaker gets to a job, and after it.
_MARGIN_SECONDS = 900


class CompilationJob(Construct):
    """Compiles a model with SageMaker Neo for one target; `output` is a source for an edge packaging job.

    Args:
        scope: the construct it stands in.
        id_: its id there.
        job_name: what the job's name starts with; SageMaker takes a name once, so a hash of the properties follows.
        job_family: what the names of this model's jobs all start with, whatever its version; blank: `job_name`.
        model: the model's folder; of its files those are compiled that the framework's layout names.
        settings: framework, shapes and target.
        output_location: `s3://bucket/prefix`, where Neo writes.
        log_retention: of the handler's logs.

    Raises:
        JobPropertyError: a property is not what SageMaker takes.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        job_name: str,
        job_family: str = "",
        model: ModelFolder,
        settings: CompilationSettings,
        output_location: str,
        log_retention: logs.RetentionDays,
    ) -> None:
        super().__init__(scope, id_)
        check_text(job_name, "CompilationJobName", job_name, ENTITY_NAME, expected="letters, digits and inner dashes")
        check_family(job_name, job_family)
        check_uri(job_name, "OutputConfig.S3OutputLocation", output_location)
        asset = self._archive(model, settings)
        archive = f"s3://{asset.s3_bucket_name}/{asset.s3_object_key}"
        # Neo asks for a name that ends in .tar.gz, and assets have none.
        source = f"{output_location}/source/{model.name}.tar.gz"
        role = self._role(source, output_location)
        compiled = object_arn(self, f"{output_location}/*")
        timeout = cdk.Duration.seconds(settings.max_runtime_seconds + 2 * _MARGIN_SECONDS)
        provider = job_provider(
            self,
            handler="compilation_job_handler",
            kind="CompilationJob",
            jobs=f"compilation-job/{(job_family or job_name)[:LONGEST_JOB_NAME]}",
            statements=[
                iam.PolicyStatement(sid="ReadAsset", actions=["s3:GetObject"], resources=[object_arn(self, archive)]),
                iam.PolicyStatement(sid="PlaceArchive", actions=["s3:PutObject"], resources=[object_arn(self, source)]),
                iam.PolicyStatement(sid="ReadCompiled", actions=["s3:GetObject"], resources=[compiled]),
                see_missing(compiled),
                pass_role(role),
            ],
            total_timeout=timeout,
            log_retention=log_retention,
        )
        acknowledge(
            provider,
            rule=f"AwsSolutions-IAM5[Resource::{compiled}]",
            reason="Neo names its outputs itself; the job's own prefix is the bound.",
        )
        self.resource = cdk.CustomResource(
            self,
            "Job",
            resource_type="Custom::CompilationJob",
            service_token=provider.service_token,
            service_timeout=timeout,
            properties={
                "JobName": job_name,
                "RoleArn": role.role_arn,
                "ModelArchive": archive,
                "InputConfig": input_config(source, model, settings),
                "OutputConfig": {"S3OutputLocation": output_location, **target_config(settings)},
                "MaxRuntimeInSeconds": settings.max_runtime_seconds,
                "TimeoutSeconds": settings.max_runtime_seconds + _MARGIN_SECONDS,
            },
        )
        self.resource.node.add_dependency(role)
        self.job_name = self.resource.get_att_string("CompilationJobName")
        self.output = ModelSource(uri=self.resource.get_att_string("S3ModelArtifacts"), objects=(compiled,))

    def _archive(self, model: ModelFolder, settings: CompilationSettings) -> s3_assets.Asset:
        """What Neo takes: a tar.gz with the framework's files alone."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"{model.name}.tar.gz")
            with path.open("wb") as target:
                write_archive(model, settings.framework, target)
            return s3_assets.Asset(self, "Source", path=str(path))

    def _role(self, source: str, output_location: str) -> iam.Role:
        role = sagemaker_role(self)
        outputs = object_arn(self, f"{output_location}/*")
        bucket = outputs.partition("/")[0]
        for sid, actions, resource in (
            ("ReadModel", ["s3:GetObject"], object_arn(self, source)),
            ("WriteCompiled", ["s3:GetObject", "s3:PutObject"], outputs),
            ("LocateBuckets", ["s3:GetBucketLocation", "s3:ListBucket"], bucket),
        ):
            role.add_to_policy(iam.PolicyStatement(sid=sid, actions=actions, resources=[resource]))
        acknowledge(
            role,
            rule=f"AwsSolutions-IAM5[Resource::{outputs}]",
            reason="Neo names its outputs itself; the job's own prefix is the bound.",
        )
        return role
