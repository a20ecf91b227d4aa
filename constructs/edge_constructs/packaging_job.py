# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import aws_cdk as cdk
import aws_cdk.aws_iam as iam
import aws_cdk.aws_logs as logs
import aws_cdk.aws_s3_assets as s3_assets
from constructs import Construct

from edge_constructs.component_source import package_file
from edge_constructs.custom_resource import CustomResourceProvider
from edge_constructs.model_folder import ModelFolder


class EdgePackagingJob(Construct):
    """Makes the package of a model that devices load, as SageMaker's CreateEdgePackagingJob did.

    The package is named by the model digest, which synth computes and the job checks; it is never overwritten.

    Args:
        scope: the construct it stands in.
        id_: its id there.
        model: the model's folder.
        bucket: the artifact bucket's name.
        log_retention: of the handler's logs.
    """

    def __init__(
        self, scope: Construct, id_: str, *, model: ModelFolder, bucket: str, log_retention: logs.RetentionDays
    ) -> None:
        super().__init__(scope, id_)
        source = s3_assets.Asset(
            self, "Source", path=str(model.folder), exclude=["*", *(f"!{name}" for name in model.files)]
        )
        key = f"{package_prefix(model)}/{package_file(model)}"
        package = f"arn:aws:s3:::{bucket}/{key}"
        asset = f"arn:aws:s3:::{source.s3_bucket_name}/{source.s3_object_key}"
        provider = CustomResourceProvider(
            self,
            "Handler",
            handler="packaging_job_handler",
            common=["edge_package"],
            asynchronous=True,
            statements=[
                iam.PolicyStatement(sid="ReadModel", actions=["s3:GetObject"], resources=[asset]),
                iam.PolicyStatement(sid="WritePackage", actions=["s3:GetObject", "s3:PutObject"], resources=[package]),
                # Without it a missing key answers 403, and could not be told from a denied one.
                iam.PolicyStatement(sid="SeeMissing", actions=["s3:ListBucket"], resources=[f"arn:aws:s3:::{bucket}"]),
            ],
            log_retention=log_retention,
        )
        self.resource = cdk.CustomResource(
            self,
            "Job",
            resource_type="Custom::EdgePackagingJob",
            service_token=provider.service_token,
            service_timeout=cdk.Duration.minutes(30),
            properties={
                "JobName": f"{model.name}-{model.version}".replace(" ", "-").replace(".", "-").replace("_", "-"),
                "ModelName": model.name,
                "ModelVersion": model.version,
                "ModelDigest": model.manifest.digest,
                "Files": list(model.files),
                "SourceBucket": source.s3_bucket_name,
                "SourceKey": source.s3_object_key,
                "OutputBucket": bucket,
                "OutputKey": key,
            },
        )


def package_prefix(model: ModelFolder) -> str:
    """The folder of the artifact bucket that holds a model's package: one for each content."""
    return f"models/{model.name}/{model.manifest.digest}"
