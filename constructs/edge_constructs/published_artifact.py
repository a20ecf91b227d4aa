# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import aws_cdk as cdk
import aws_cdk.aws_iam as iam
import aws_cdk.aws_logs as logs
import aws_cdk.aws_s3_assets as s3_assets
from constructs import Construct

from edge_constructs.acknowledge import acknowledge
from edge_constructs.arns import object_arn
from edge_constructs.custom_resource import CustomResourceProvider
from edge_package.archive import FileContent, write_zip


class ArtifactPublisher(Construct):
    """The handler that copies component artifacts out of the CDK's bootstrap bucket.

    That bucket is open to `cdk gc`, and a device that was offline for a month still needs its artifact.

    Args:
        scope: the construct it stands in.
        id_: its id there.
        bucket: the artifact bucket's name.
        log_retention: of the handler's logs.
    """

    def __init__(self, scope: Construct, id_: str, *, bucket: str, log_retention: logs.RetentionDays) -> None:
        super().__init__(scope, id_)
        self._bucket = bucket
        stack = cdk.Stack.of(self)
        assets = object_arn(self, f"s3://cdk-hnb659fds-assets-{stack.account}-{stack.region}/*")
        target = object_arn(self, f"s3://{bucket}/components/*")
        self._provider = CustomResourceProvider(
            self,
            "Handler",
            handler="published_artifact_handler",
            modules=["s3_objects"],
            statements=[
                iam.PolicyStatement(sid="ReadAssets", actions=["s3:GetObject"], resources=[assets]),
                iam.PolicyStatement(
                    sid="PublishArtifacts", actions=["s3:GetObject", "s3:PutObject"], resources=[target]
                ),
                # Without it a missing key answers 403, and could not be told from a denied one.
                iam.PolicyStatement(
                    sid="SeeMissing", actions=["s3:ListBucket"], resources=[object_arn(self, f"s3://{bucket}")]
                ),
            ],
            log_retention=log_retention,
        )
        for resource in (assets, target):
            acknowledge(
                self._provider,
                rule=f"AwsSolutions-IAM5[Resource::{resource}]",
                reason="Keys hold content hashes and versions; the one bucket and prefix are the bound.",
            )

    def publish(self, id_: str, *, files: Mapping[str, FileContent], key: str) -> cdk.CustomResource:
        """Publish a zip of `files` at `key`, never overwritten, and return the resource that does it."""
        # The CDK copies an asset when it is declared: the file may go afterwards.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, Path(key).name)
            sha256 = write_zip(files, path)
            asset = s3_assets.Asset(self, f"{id_}Asset", path=str(path))
        return cdk.CustomResource(
            self,
            id_,
            resource_type="Custom::PublishedArtifact",
            service_token=self._provider.service_token,
            service_timeout=cdk.Duration.minutes(15),
            properties={
                "SourceBucket": asset.s3_bucket_name,
                "SourceKey": asset.s3_object_key,
                "TargetBucket": self._bucket,
                "TargetKey": key,
                "Sha256": sha256,
            },
        )
