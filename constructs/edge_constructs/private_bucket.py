# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import aws_cdk as cdk
import aws_cdk.aws_s3 as s3
from constructs import Construct

from edge_constructs.acknowledge import acknowledge


class PrivateBucket(s3.Bucket):
    """A bucket that is reached over TLS alone, encrypted, closed to the public, and kept when its stack goes."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        bucket_name: str,
        versioned: bool,
        lifecycle_rules: Sequence[s3.LifecycleRule],
        **kwargs: Any,
    ) -> None:
        super().__init__(
            scope,
            id_,
            bucket_name=bucket_name,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            encryption=s3.BucketEncryption.S3_MANAGED,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            versioned=versioned,
            lifecycle_rules=[
                *lifecycle_rules,
                s3.LifecycleRule(id="unfinished-uploads", abort_incomplete_multipart_upload_after=cdk.Duration.days(7)),
            ],
            removal_policy=cdk.RemovalPolicy.RETAIN,
            **kwargs,
        )
        acknowledge(
            self,
            rule="AwsSolutions-S1",
            reason="Object-level access is recorded by CloudTrail data events where an account wants it; server access "
            "logs would need a second bucket per environment that nobody reads.",
        )
