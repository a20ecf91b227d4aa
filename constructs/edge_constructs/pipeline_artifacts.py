# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import aws_cdk as cdk
import aws_cdk.aws_kms as kms
import aws_cdk.aws_s3 as s3
from constructs import Construct

from edge_constructs.acknowledge import acknowledge


class PipelineArtifacts(s3.Bucket):
    """What a pipeline's actions hand on, in every account that it deploys to, and the change reports.

    Encrypted with a key of its own: other accounts cannot be given AWS's.
    """

    def __init__(self, scope: Construct, id_: str, *, keep_days: int) -> None:
        key = kms.Key(
            scope,
            f"{id_}Key",
            enable_key_rotation=True,
            description="Artifacts of the delivery pipeline",
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )
        super().__init__(
            scope,
            id_,
            bucket_name=cdk.PhysicalName.GENERATE_IF_NEEDED,
            encryption=s3.BucketEncryption.KMS,
            encryption_key=key,
            bucket_key_enabled=True,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            lifecycle_rules=[
                s3.LifecycleRule(
                    expiration=cdk.Duration.days(keep_days),
                    abort_incomplete_multipart_upload_after=cdk.Duration.days(7),
                )
            ],
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )
        acknowledge(
            self,
            rule="AwsSolutions-S1",
            reason="Object-level access is recorded by CloudTrail data events where an account wants it; server access "
            "logs would need a second bucket that nobody reads.",
        )
