# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import aws_cdk as cdk
import aws_cdk.aws_ssm as ssm
from constructs import Construct

from edge_constructs.compilation_input import compilation_key
from edge_constructs.compilation_job import CompilationJob
from edge_constructs.component_lock import ComponentLock
from edge_constructs.framework_layout import foreign_framework
from edge_constructs.job_rules import GREENGRASS_V2_COMPONENT, JobPropertyError
from edge_constructs.model_folder import ModelFolder
from edge_constructs.model_source import model_source
from edge_constructs.open_packaging import OpenPackaging
from edge_constructs.packaging_job import (
    EdgePackagingJob,
    PackagingEngine,
    PackagingProperties,
    job_family,
    job_name,
)
from edge_constructs.sagemaker_packaging import SageMakerPackaging
from edge_constructs.signing_key import alias_arn
from stacks.environment import Environment
from stacks.log_retention import log_retention
from stacks.variants import deployed_model, model_prefix


class ModelsStack(cdk.Stack):
    """The jobs that turn models into packages. What changes is a synth-time literal, so nothing is exported."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        environment: Environment,
        models: Sequence[ModelFolder],
        lock: ComponentLock,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, id_, **kwargs)
        self._environment = environment
        for model in models:
            compilation = self._compilation(model)  # first: what Neo would not take needs no version
            job = EdgePackagingJob(
                self,
                f"Package-{model.name}",
                properties=self._properties(model, lock),
                engine=self._engine(model, compilation),
                log_retention=log_retention(environment),
            )
            suffix = "" if model is models[0] else model.name.capitalize()
            cdk.CfnOutput(self, f"ModelArtifact{suffix}", value=job.model_artifact)
            cdk.CfnOutput(self, f"PackageDigest{suffix}", value=job.package_digest)
            if environment.edge_manager == "open":
                cdk.CfnOutput(self, f"ModelDigest{suffix}", value=job.resource.get_att_string("ModelDigest"))
                cdk.CfnOutput(self, f"ModelSignature{suffix}", value=job.model_signature)
                self._declare(model, job)

    def _declare(self, model: ModelFolder, job: EdgePackagingJob) -> None:
        """Say which model is declared, where what watches devices reads it; history keeps the former one."""
        declared = {"ModelDigest": job.resource.get_att_string("ModelDigest"), "ModelVersion": model.version}
        ssm.StringParameter(
            self,
            f"Declared-{model.name}",
            parameter_name=f"{self._environment.declared_models}{model.name}",
            string_value=self.to_json_string(declared),
            description=f"The version of model {model.name} that devices are to run.",
        )

    def _compilation(self, model: ModelFolder) -> CompilationJob | None:
        environment = self._environment
        settings = environment.compilation
        if settings is None:
            if framework := foreign_framework(model.files):
                raise JobPropertyError(
                    f"model {model.name}: files: an .onnx file or a compiled library is expected, as devices run no "
                    f"others, got those of {framework}: compile it (a table [compilation] in the environment), or "
                    "export it to ONNX"
                )
            return None
        key = compilation_key(model, settings)
        return CompilationJob(
            self,
            f"Compile-{model.name}",
            job_name=_named(environment, job_name(model)),
            job_family=_named(environment, job_family(model)),
            model=model,
            settings=settings,
            output_location=f"s3://{environment.artifact_bucket}/compiled/{model.name}/{key}",
            log_retention=log_retention(environment),
        )

    def _properties(self, model: ModelFolder, lock: ComponentLock) -> PackagingProperties:
        environment = self._environment
        source = deployed_model(environment, model)
        return PackagingProperties(
            job_name=_named(environment, job_name(model)),
            job_family=_named(environment, job_family(model)),
            model_name=model.name,
            model_version=model.version,
            output_location=f"s3://{environment.artifact_bucket}/{model_prefix(environment, model)}",
            kms_key_id=environment.packaging.kms_key_id,
            resource_key=environment.packaging.resource_key,
            preset_deployment_type=GREENGRASS_V2_COMPONENT,
            preset_deployment_config={
                "ComponentName": f"{environment.namespace}.{source.name}",
                "ComponentDescription": model.description,
                "ComponentVersion": lock.version_of(source),
                **environment.packaging.preset,
            },
        )

    def _engine(self, model: ModelFolder, compilation: CompilationJob | None) -> PackagingEngine:
        environment = self._environment
        if environment.edge_manager == "sagemaker":
            assert compilation is not None  # noqa: S101 -- for mypy: the environment's checks ask for it
            return SageMakerPackaging(compilation=compilation)
        source = model_source(self, f"Source-{model.name}", model) if compilation is None else compilation.output
        return OpenPackaging(
            source=source, signing_keys=[alias_arn(self, alias) for alias in environment.signing_aliases]
        )


def _named(environment: Environment, words: str) -> str:
    return f"{environment.namespace}-{words}"[:40].rstrip("-")
