# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import aws_cdk as cdk
import aws_cdk.aws_logs as logs
from constructs import Construct

from edge_constructs.component_source import package_file
from edge_constructs.job_rules import (
    EDGE_VERSION,
    ENTITY_NAME,
    GREENGRASS_V2_COMPONENT,
    KMS_KEY_ID,
    JobPropertyError,
    check_choice,
    check_family,
    check_text,
    check_uri,
    preset_config,
)
from edge_constructs.model_folder import ModelFolder

LONGEST_JOB_NAME = 47
"""SageMaker takes 63 characters; a hash of the job's properties and the number of the attempt follow."""


@dataclass(frozen=True, kw_only=True)
class PackagingProperties:
    """What a job packages: the properties of CreateEdgePackagingJob, under its rules.

    Attributes:
        job_name: what the job's name starts with.
        job_family: what the names of this model's jobs all start with, whatever its version; blank: `job_name`. A role
            that knew the present version's jobs alone could not stop the former's, nor after a rollback the latter's.
        model_name: name of the model, also on the devices.
        model_version: its version.
        output_location: `s3://bucket/prefix`; the package is `<ModelName>-<ModelVersion>.tar.gz` below it.
        kms_key_id: ARN or alias of the key that encrypts the package; blank: the bucket's own encryption.
        resource_key: the same for the volume of SageMaker's job; our engine has none.
        preset_deployment_type: `GreengrassV2Component`, or blank.
        preset_deployment_config: the component that stands for the package.

    Raises:
        JobPropertyError: one is not what SageMaker takes.
    """

    job_name: str
    model_name: str
    model_version: str
    output_location: str
    kms_key_id: str = ""
    resource_key: str = ""
    preset_deployment_type: str = ""
    preset_deployment_config: Mapping[str, str] = field(default_factory=dict)
    job_family: str = ""

    def __post_init__(self) -> None:
        job, entity = self.job_name, "1 to 63 letters and digits with inner dashes"
        check_text(job, "EdgePackagingJobName", job, ENTITY_NAME, expected=entity)
        if len(job) > LONGEST_JOB_NAME:
            raise JobPropertyError(
                f"job {job}: EdgePackagingJobName: at most {LONGEST_JOB_NAME} characters are expected, as a hash "
                f"follows; got {len(job)}"
            )
        check_family(job, self.job_family)
        check_text(job, "ModelName", self.model_name, ENTITY_NAME, expected=entity)
        version = "1 to 30 letters, digits, spaces, underscores and dots"
        check_text(job, "ModelVersion", self.model_version, EDGE_VERSION, expected=version)
        check_uri(job, "OutputConfig.S3OutputLocation", self.output_location)
        check_text(job, "OutputConfig.KmsKeyId", self.kms_key_id, KMS_KEY_ID, expected="a key's ARN, id or alias")
        check_text(job, "ResourceKey", self.resource_key, KMS_KEY_ID, expected="a key's ARN, id or alias")
        if self.preset_deployment_type:
            name = "OutputConfig.PresetDeploymentType"
            check_choice(job, name, self.preset_deployment_type, [GREENGRASS_V2_COMPONENT])
            preset_config(job, self.preset_deployment_config)
        elif self.preset_deployment_config:
            raise JobPropertyError(f"job {job}: PresetDeploymentConfig without PresetDeploymentType")

    @property
    def artifact(self) -> str:
        """`s3://` address of the package."""
        return f"{self.output_location}/{package_file(self.model_name, self.model_version)}"

    @property
    def preset_json(self) -> str:
        """PresetDeploymentConfig as the API takes it."""
        return preset_config(self.job_name, self.preset_deployment_config)


class PackagingEngine(Protocol):
    """What does the work: our own handler, or SageMaker."""

    def create(
        self, scope: Construct, properties: PackagingProperties, *, log_retention: logs.RetentionDays
    ) -> cdk.CustomResource:
        """Declare the job; the resource has the attributes ModelArtifact, PackageSha256 and ModelSignature."""


class EdgePackagingJob(Construct):
    """Makes the package of a model that devices load, and the component that stands for it, as CreateEdgePackagingJob.

    Args:
        scope: the construct it stands in.
        id_: its id there.
        properties: what is packaged.
        engine: `OpenPackaging` or `SageMakerPackaging`.
        log_retention: of the handler's logs.

    Attributes:
        model_artifact: `s3://` address of the package.
        package_digest: SHA-256 of its bytes, lower-case hex.
        model_signature: `s3://` address of our signature; of SageMaker's job the signature document itself.
        component: name of the component that stands for the package; blank without a preset deployment.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        properties: PackagingProperties,
        engine: PackagingEngine,
        log_retention: logs.RetentionDays,
    ) -> None:
        super().__init__(scope, id_)
        self.resource = engine.create(self, properties, log_retention=log_retention)
        self.model_artifact = self.resource.get_att_string("ModelArtifact")
        self.package_digest = self.resource.get_att_string("PackageSha256")
        self.model_signature = self.resource.get_att_string("ModelSignature")
        self.component = properties.preset_deployment_config.get("ComponentName", "")


def job_name(model: ModelFolder) -> str:
    """A job's name for a model: name and version, in the letters that SageMaker takes."""
    return _job_words(f"{model.name}-{model.version}")


def job_family(model: ModelFolder) -> str:
    """What the names of a model's jobs all start with."""
    return _job_words(model.name)


def _job_words(text: str) -> str:
    words = text.replace(" ", "-").replace(".", "-").replace("_", "-").split("-")
    return "-".join(word for word in words if word).lower()[:LONGEST_JOB_NAME].rstrip("-")


def package_prefix(model: ModelFolder, compiled: str = "") -> str:
    """The folder of the artifact bucket that holds a model's package: one for each content, and each compilation."""
    return "/".join(part for part in ("models", model.name, model.digest, compiled) if part)
