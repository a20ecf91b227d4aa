# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import tarfile
import tempfile
from pathlib import Path
from typing import IO, Any

import aws_cdk as cdk
import aws_cdk.aws_iam as iam
import aws_cdk.aws_logs as logs
import aws_cdk.aws_s3_assets as s3_assets
from constructs import Construct

from edge_constructs.acknowledge import acknowledge
from edge_constructs.arns import object_arn, regional_arn
from edge_constructs.compilation_settings import CompilationSettings
from edge_constructs.custom_resource import CustomResourceProvider
from edge_constructs.framework_layout import AXES, LAYOUTS, expected_files, framework_files
from edge_constructs.handler_kernel import content_id
from edge_constructs.job_rules import ENTITY_NAME, JobPropertyError, check_family, check_text, check_uri
from edge_constructs.model_folder import ModelFolder
from edge_constructs.model_source import ModelSource
from edge_package.stored_gzip import StoredGzipWriter

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
        jobs = regional_arn(self, "sagemaker", f"compilation-job/{(job_family or job_name)[:47]}*")
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
                iam.PolicyStatement(sid="ReadAsset", actions=["s3:GetObject"], resources=[object_arn(self, archive)]),
                iam.PolicyStatement(sid="PlaceArchive", actions=["s3:PutObject"], resources=[object_arn(self, source)]),
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
            uri=self.resource.get_att_string("S3ModelArtifacts"), objects=(object_arn(self, f"{output_location}/*"),)
        )

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


def write_archive(model: ModelFolder, framework: str, target: IO[bytes]) -> None:
    """Write the deterministic tar.gz of a model's files that Neo takes for a framework.

    Files lie flat, as Neo looks for them, but for the folder of a TensorFlow model's variables.

    Raises:
        JobPropertyError: the model's files are not what Neo takes, or do not lie in its folder.
    """
    names = compiled_files(model, framework)
    writer = StoredGzipWriter(target)
    with tarfile.open(fileobj=writer, mode="w|", format=tarfile.USTAR_FORMAT) as archive:  # type: ignore[call-overload] # it only writes
        for name in names:
            path = model.folder / name
            member = tarfile.TarInfo("/".join(name.split("/")[-2:]) if "variables/" in name else path.name)
            member.size = path.stat().st_size
            with path.open("rb") as source:
                archive.addfile(member, source)
    writer.finish()


def compiled_files(model: ModelFolder, framework: str) -> tuple[str, ...]:
    """The files of a model that Neo compiles.

    Raises:
        JobPropertyError: they are not what the framework's layout names, or do not lie in the model's folder.
    """
    where = f"model {model.name}"
    if model.source is not None:
        raise JobPropertyError(
            f"{where}: source: the files of a model that is compiled are expected in its folder, they lie at "
            f"{model.source.uri}: copy them there, or compile it yourself and package what Neo wrote"
        )
    if not (expected := expected_files(framework)):
        raise JobPropertyError(
            f"{where}: compilation.framework: one of {', '.join(LAYOUTS)} is expected, got {framework}, of which AWS "
            "documents no layout: export the model to ONNX"
        )
    if (names := framework_files(framework, model.files)) is None:
        raise JobPropertyError(
            f"{where}: files: {expected} is expected, as compilation.framework is {framework}, got "
            f"{', '.join(model.files)}: name the framework that the files are of, or export the model for this one"
        )
    return names


def compilation_key(model: ModelFolder, settings: CompilationSettings) -> str:
    """Names a model compiled with these settings, before it is: equal settings of an equal model give equal names.

    Raises:
        JobPropertyError: Neo would not take the model so.
    """
    compiled_files(model, settings.framework)
    parts = {"model": model.digest, "input": _input_config("", model, settings), "output": _target(settings)}
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
        shapes = _shapes(model, settings.framework)
    return {
        "S3Uri": uri,
        "Framework": settings.framework,
        **({"FrameworkVersion": settings.framework_version} if settings.framework_version else {}),
        **({"DataInputConfig": shapes} if shapes else {}),
    }


def _shapes(model: ModelFolder, framework: str) -> str:
    """DataInputConfig of the one image that the model takes."""
    image = model.preprocessing
    axes = AXES.get(framework, image.layout)
    if image.layout != axes:
        raise JobPropertyError(
            f"model {model.name}: preprocessing.layout: {axes} is expected, as Neo compiles {framework} models for it, "
            f"got {image.layout}: write {axes}, or say the shape in compilation.data_input_config"
        )
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
