# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import aws_cdk as cdk
import aws_cdk.aws_iam as iam
import aws_cdk.aws_logs as logs
from constructs import Construct

from edge_constructs.acknowledge import acknowledge
from edge_constructs.arns import object_arn
from edge_constructs.custom_resource import CustomResourceProvider
from edge_constructs.job_rules import JobPropertyError
from edge_constructs.key_use import ENCRYPTING, acknowledge_key, key_statement
from edge_constructs.model_source import ModelSource
from edge_constructs.packaging_job import PackagingProperties
from edge_constructs.signing_key import acknowledge_alias, allow_by_alias
from edge_package.signature import SIGNATURE_SUFFIX

# A whole processor: Lambda gives one with this much memory, and digests are what the time goes into.
_MEMORY = 1769


@dataclass(frozen=True, kw_only=True)
class OpenPackaging:
    """The packaging engine that works today: our handler packages, and signs with a KMS key.

    The package is never overwritten, and a replayed event changes no byte.

    Attributes:
        source: what is packaged.
        signing_keys: ARNs of KMS aliases; the first signs, each is taken in a signature that is there.
    """

    source: ModelSource
    signing_keys: Sequence[str]

    def create(
        self, scope: Construct, properties: PackagingProperties, *, log_retention: logs.RetentionDays
    ) -> cdk.CustomResource:
        """Declare the job.

        Raises:
            JobPropertyError: the output does not lie in S3 by an `s3://` address, or no key is given.
        """
        artifact, job = properties.artifact, properties.job_name
        if not artifact.startswith("s3://"):
            raise JobPropertyError(f"job {job}: S3OutputLocation: an s3:// address is expected, got {artifact!r}")
        if not self.signing_keys:
            raise JobPropertyError(f"job {job}: at least one signing key is expected, got none")
        source = self.source
        packages = [object_arn(scope, artifact), object_arn(scope, artifact + SIGNATURE_SUFFIX)]
        buckets = sorted({package.partition("/")[0] for package in packages})
        provider = CustomResourceProvider(
            scope,
            "Handler",
            handler="packaging_job_handler",
            modules=["manifest_signer", "s3_objects", "source_reader"],
            common=["edge_package"],
            memory_size=_MEMORY,
            statements=[
                iam.PolicyStatement(sid="ReadModel", actions=["s3:GetObject"], resources=list(source.objects)),
                iam.PolicyStatement(
                    sid="WritePackage",
                    actions=["s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"],
                    resources=packages,
                ),
                # Without it a missing key answers 403, and could not be told from a denied one.
                iam.PolicyStatement(sid="SeeMissing", actions=["s3:ListBucket"], resources=buckets),
                allow_by_alias(scope, "SignManifest", ["kms:Sign", "kms:Verify"], self.signing_keys),
                *_listing(scope, source),
                *_encryption(scope, properties),
            ],
            log_retention=log_retention,
        )
        self._acknowledge(provider)
        acknowledge_key(provider, properties.kms_key_id)
        return cdk.CustomResource(
            scope,
            "Job",
            resource_type="Custom::EdgePackagingJob",
            service_token=provider.service_token,
            service_timeout=cdk.Duration.minutes(30),
            properties={
                "EdgePackagingJobName": job,
                "ModelName": properties.model_name,
                "ModelVersion": properties.model_version,
                "ModelSource": source.uri,
                "ModelArtifact": artifact,
                "SigningKeys": list(self.signing_keys),
                **({"Files": list(source.files)} if source.files else {}),
                **({"ModelDigest": source.digest} if source.digest else {}),
                **({"KmsKeyId": properties.kms_key_id} if properties.kms_key_id else {}),
            },
        )

    def _acknowledge(self, provider: CustomResourceProvider) -> None:
        acknowledge_alias(provider)
        for resource in self.source.objects:
            if "*" in resource:
                acknowledge(
                    provider,
                    rule=f"AwsSolutions-IAM5[Resource::{resource}]",
                    reason="The names of the source's files are not known at synth; the prefix is the bound.",
                )


def _listing(scope: Construct, source: ModelSource) -> list[iam.PolicyStatement]:
    if not source.listed_bucket:
        return []
    prefix = source.uri.removeprefix(f"s3://{source.listed_bucket}/")
    return [
        iam.PolicyStatement(
            sid="ListModel",
            actions=["s3:ListBucket"],
            resources=[object_arn(scope, f"s3://{source.listed_bucket}")],
            conditions={"StringLike": {"s3:prefix": f"{prefix}*"}},
        )
    ]


def _encryption(scope: Construct, properties: PackagingProperties) -> list[iam.PolicyStatement]:
    key = properties.kms_key_id
    return [key_statement(scope, "EncryptPackage", ENCRYPTING, key)] if key else []
