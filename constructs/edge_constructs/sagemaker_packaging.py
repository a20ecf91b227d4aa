# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass

import aws_cdk as cdk
import aws_cdk.aws_iam as iam
import aws_cdk.aws_logs as logs
from constructs import Construct

from edge_constructs.acknowledge import acknowledge
from edge_constructs.arns import object_arn, regional_arn
from edge_constructs.compilation_job import CompilationJob
from edge_constructs.key_use import ENCRYPTING, acknowledge_key, key_statement
from edge_constructs.packaging_job import PackagingProperties
from edge_constructs.sagemaker_access import job_provider, pass_role, sagemaker_role, see_missing

_MINUTES = 30
# The framework waits a little longer than the handler, which knows the reason.
_MARGIN_MINUTES = 10


@dataclass(frozen=True, kw_only=True)
class SageMakerPackaging:
    """SageMaker's own packaging job, as AWS documented it until 26 April 2024: it packages what Neo compiled.

    Attributes:
        compilation: the job whose output is packaged.
    """

    compilation: CompilationJob

    def create(
        self, scope: Construct, properties: PackagingProperties, *, log_retention: logs.RetentionDays
    ) -> cdk.CustomResource:
        """Declare the job."""
        role = self._role(scope, properties)
        packages, key = object_arn(scope, f"{properties.output_location}/*"), properties.kms_key_id
        family, timeout = properties.job_family or properties.job_name, cdk.Duration.minutes(_MINUTES + _MARGIN_MINUTES)
        provider = job_provider(
            scope,
            handler="sagemaker_packaging_handler",
            kind="EdgePackagingJob",
            jobs=f"edge-packaging-job/{family.lower()}",
            statements=[
                iam.PolicyStatement(sid="ReadPackage", actions=["s3:GetObject"], resources=[packages]),
                see_missing(packages),
                pass_role(role),
                *([key_statement(scope, "DecryptPackage", ["kms:Decrypt"], key)] if key else []),
            ],
            total_timeout=timeout,
            log_retention=log_retention,
        )
        acknowledge(
            provider,
            rule=f"AwsSolutions-IAM5[Resource::{packages}]",
            reason="SageMaker names the package; the job's own prefix is the bound.",
        )
        acknowledge_key(provider, key)
        preset = properties.preset_deployment_type
        resource = cdk.CustomResource(
            scope,
            "Job",
            resource_type="Custom::SageMakerEdgePackagingJob",
            service_token=provider.service_token,
            service_timeout=timeout,
            properties={
                "JobName": properties.job_name,
                "CompilationJobName": self.compilation.job_name,
                "ModelName": properties.model_name,
                "ModelVersion": properties.model_version,
                "RoleArn": role.role_arn,
                "OutputConfig": {
                    "S3OutputLocation": properties.output_location,
                    **({"KmsKeyId": key} if key else {}),
                    **(
                        {"PresetDeploymentType": preset, "PresetDeploymentConfig": properties.preset_json}
                        if preset
                        else {}
                    ),
                },
                **({"ResourceKey": properties.resource_key} if properties.resource_key else {}),
                "TimeoutSeconds": _MINUTES * 60,
            },
        )
        resource.node.add_dependency(role)
        return resource

    def _role(self, scope: Construct, properties: PackagingProperties) -> iam.Role:
        """What SageMaker may do: read what Neo wrote, write the package, make the component."""
        role = sagemaker_role(scope)
        compiled, packages = self.compilation.output.objects, object_arn(scope, f"{properties.output_location}/*")
        bucket = packages.partition("/")[0]
        for sid, actions, resources in (
            ("ReadCompiled", ["s3:GetObject"], list(compiled)),
            ("WritePackage", ["s3:GetObject", "s3:PutObject"], [packages]),
            ("LocateBuckets", ["s3:GetBucketLocation", "s3:ListBucket"], [bucket]),
        ):
            role.add_to_policy(iam.PolicyStatement(sid=sid, actions=actions, resources=resources))
        if key := properties.kms_key_id:
            role.add_to_policy(key_statement(scope, "EncryptPackage", ENCRYPTING, key))
            acknowledge_key(role, key)
        if key := properties.resource_key:
            # SageMaker hands the key to the volume by a grant of its own.
            grant = key_statement(scope, "EncryptVolume", ["kms:CreateGrant"], key)
            grant.add_condition("Bool", {"kms:GrantIsForAWSResource": "true"})
            role.add_to_policy(grant)
            role.add_to_policy(key_statement(scope, "SeeVolumeKey", ["kms:DescribeKey"], key))
            acknowledge_key(role, key)
        wild = [*compiled, packages]
        if component := properties.preset_deployment_config.get("ComponentName"):
            arn = regional_arn(scope, "greengrass", f"components:{component}")
            actions = ["greengrass:CreateComponentVersion", "greengrass:DescribeComponent"]
            versions = f"{arn}:versions:*"
            role.add_to_policy(iam.PolicyStatement(sid="MakeComponent", actions=actions, resources=[arn, versions]))
            wild.append(versions)
        for resource in wild:
            acknowledge(
                role,
                rule=f"AwsSolutions-IAM5[Resource::{resource}]",
                reason="SageMaker names what it writes; the job's own prefix, or the one component, is the bound.",
            )
        return role
