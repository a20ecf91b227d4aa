# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import json
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import aws_cdk.aws_iam as iam
import aws_cdk.aws_logs as logs
import aws_cdk.aws_s3_assets as s3_assets
from constructs import Construct

from edge_constructs.acknowledge import acknowledge
from edge_constructs.compilation_settings import CompilationSettings
from edge_constructs.custom_resource import CustomResourceProvider
from edge_constructs.handler_kernel import content_id
from edge_constructs.job_rules import ENTITY_NAME, check_text, check_uri
from edge_constructs.model_folder import ModelFolder
from edge_constructs.model_source import ModelSource, object_arn
from edge_package.stored_gzip import StoredGzipWriter

# What may pass before SageMaker gets to a job, and after it.
_MARGIN_SECONDS = 900


class CompilationJob(Construct):
    """Compiles a model with SageMaker Neo for one target; `output` is a source for an edge packaging job.

    Args:
        scope: the construct it stands in.
        id_: its id there.
        job_name: what the job's name starts with; SageMaker takes a name once, so a hash of the properties follows.
        model: the model's folder; its ONNX file is what is compiled.
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
        model: ModelFolder,
        settings: CompilationSettings,
        output_location: str,
        log_retention: logs.RetentionDays,
    ) -> None:
        super().__init__(scope, id_)
        check_text(job_name, "CompilationJobName", job_name, ENTITY_NAME, expected="letters, digits and inner dashes")
        check_uri(job_name, "OutputConfig.S3OutputLocation", output_location)
        stack = cdk.Stack.of(self)
        asset = self._archive(model)
        archive = f"s3://{asset.s3_bucket_name}/{asset.s3_object_key}"
        # Neo asks for a name that ends in .tar.gz, and assets have none.
        source = f"{output_location}/source/{model.name}.tar.gz"
        role = self._role(source, output_location)
        jobs = f"arn:{stack.partition}:sagemaker:{stack.region}:{stack.account}:compilation-job/{job_name[:47]}*"
        provider = CustomResourceProvider(
            self,
            "Handler",
            handler="compilation_job_handler",
            modules=["s3_objects", "sagemaker_jobs"],
            statements=[
                iam.PolicyStatement(
                    sid="RunJobs",
                    actions=[
                        "sagemaker:CreateCompilationJob",
                        "sagemaker:DescribeCompilationJob",
                        "sagemaker:StopCompilationJob",
                    ],
                    resources=[jobs],
                ),
                iam.PolicyStatement(sid="ReadAsset", actions=["s3:GetObject"], resources=[object_arn(archive)]),
                iam.PolicyStatement(sid="PlaceArchive", actions=["s3:PutObject"], resources=[object_arn(source)]),
                pass_role(role),
            ],
            total_timeout=cdk.Duration.seconds(settings.max_runtime_seconds + 2 * _MARGIN_SECONDS),
            log_retention=log_retention,
        )
        acknowledge(
            provider,
            rule=f"AwsSolutions-IAM5[Resource::{jobs}]",
            reason="A job's name can be used once: a hash and an attempt follow the prefix, which is the bound.",
        )
        self.resource = cdk.CustomResource(
            self,
            "Job",
            resource_type="Custom::CompilationJob",
            service_token=provider.service_token,
            service_timeout=cdk.Duration.seconds(settings.max_runtime_seconds + 2 * _MARGIN_SECONDS),
            properties={
                "JobName": job_name,
                "RoleArn": role.role_arn,
                "ModelArchive": archive,
                "InputConfig": _input_config(source, model, settings),
                "OutputConfig": {"S3OutputLocation": output_location, **_target(settings)},
                "MaxRuntimeInSeconds": settings.max_runtime_seconds,
                "TimeoutSeconds": settings.max_runtime_seconds + _MARGIN_SECONDS,
            },
        )
        self.resource.node.add_dependency(role)
        self.job_name = self.resource.get_att_string("CompilationJobName")
        self.output = ModelSource(
            uri=self.resource.get_att_string("S3ModelArtifacts"), objects=(object_arn(f"{output_location}/*"),)
        )

    def _archive(self, model: ModelFolder) -> s3_assets.Asset:
        """What Neo takes: a tar.gz with the model file alone."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"{model.name}.tar.gz")
            path.write_bytes(compilation_archive(model))
            return s3_assets.Asset(self, "Source", path=str(path))

    def _role(self, source: str, output_location: str) -> iam.Role:
        role = sagemaker_role(self)
        outputs = object_arn(f"{output_location}/*")
        bucket = outputs.partition("/")[0]
        for sid, actions, resource in (
            ("ReadModel", ["s3:GetObject"], object_arn(source)),
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


def compilation_archive(model: ModelFolder) -> bytes:
    """The deterministic tar.gz of a model's ONNX file."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in model.files:
            if name.endswith(".onnx"):
                content = (model.folder / name).read_bytes()
                member = tarfile.TarInfo(Path(name).name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    zipped = io.BytesIO()
    writer = StoredGzipWriter(zipped)
    writer.write(tar.getvalue())
    writer.finish()
    return zipped.getvalue()


def compilation_key(model: ModelFolder, settings: CompilationSettings) -> str:
    """Names a model compiled with these settings, before it is: equal settings of an equal model give equal names."""
    parts = {"model": model.manifest.digest, "input": _input_config("", model, settings), "output": _target(settings)}
    return content_id(settings.target.lower(), parts)


def sagemaker_role(scope: Construct) -> iam.Role:
    """A role that SageMaker assumes for this account's jobs only."""
    return iam.Role(
        scope,
        "Role",
        assumed_by=iam.ServicePrincipal(
            "sagemaker.amazonaws.com",
            conditions={"StringEquals": {"aws:SourceAccount": cdk.Stack.of(scope).account}},
        ),
    )


def pass_role(role: iam.Role) -> iam.PolicyStatement:
    """Leave to hand a role to SageMaker."""
    return iam.PolicyStatement(
        sid="PassRole",
        actions=["iam:PassRole"],
        resources=[role.role_arn],
        conditions={"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
    )


def _input_config(uri: str, model: ModelFolder, settings: CompilationSettings) -> dict[str, Any]:
    shapes = settings.data_input_config
    if shapes is None and settings.framework != "XGBOOST":
        shapes = _shapes(model)
    return {
        "S3Uri": uri,
        "Framework": settings.framework,
        **({"FrameworkVersion": settings.framework_version} if settings.framework_version else {}),
        **({"DataInputConfig": shapes} if shapes else {}),
    }


def _shapes(model: ModelFolder) -> str:
    """DataInputConfig of the one image that the model takes."""
    image = model.preprocessing
    channels = len(image.channels)  # L or RGB
    height, width = image.height, image.width
    shape = [1, channels, height, width] if image.layout == "NCHW" else [1, height, width, channels]
    return json.dumps({image.input: shape})


def _target(settings: CompilationSettings) -> dict[str, Any]:
    options = {"CompilerOptions": settings.compiler_options} if settings.compiler_options else {}
    platform = settings.target_platform
    if platform is None:
        return {"TargetDevice": settings.target_device, **options}
    accelerator = {"Accelerator": platform.accelerator} if platform.accelerator else {}
    return {"TargetPlatform": {"Os": platform.os, "Arch": platform.arch, **accelerator}, **options}
