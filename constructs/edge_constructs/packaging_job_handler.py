# SPDX-License-Identifier: Apache-2.0
"""The open edge packaging job: from a model's files to the signed package that devices load.

It answers in the words of DescribeEdgePackagingJob (specification §1.10).
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3

from edge_constructs.handler_kernel import Request, ResourceError, Response, content_id, handle
from edge_constructs.manifest_signer import Kms, ManifestSigner
from edge_constructs.s3_objects import CLIENT, S3, HashingReader, ObjectWriter, open_object, parse_uri
from edge_constructs.source_reader import open_source
from edge_package import Manifest, PackageError
from edge_package.package_stream import PackageWriter, check_package_stream
from edge_package.signature import SIGNATURE_SUFFIX


class EdgePackagingJob:
    """One job.

    Properties: EdgePackagingJobName, ModelName, ModelVersion, ModelSource (see `source_reader.open_source`), Files
    (optional: the paths in the source that make the model, others are left out), ModelDigest (optional: as synth
    computed it), ModelArtifact (`s3://` address of the package), SigningKeys (aliases of KMS keys: the first signs,
    each is taken in a signature that is there), KmsKeyId (optional: encrypts the package).
    """

    def __init__(self, s3: S3, kms: Kms) -> None:
        self._s3 = s3
        self._kms = kms

    def apply(self, request: Request) -> Response:
        """Run the job; a package and a signature that are there and right are left alone.

        Raises:
            ResourceError: the source cannot be packaged, packages to another digest than synth's, or other objects
                stand where package and signature belong.
        """
        artifact = request.text("ModelArtifact")
        signer = ManifestSigner(self._s3, self._kms, keys=request.texts("SigningKeys"), deadline=request.deadline)
        try:
            manifest, sha256 = self._present(request) or self._package(request)
        except PackageError as error:
            raise ResourceError(f"job {request.text('EdgePackagingJobName')}: {error}") from error
        signature = signer.sign_once(manifest.digest, artifact + SIGNATURE_SUFFIX)
        return Response(
            PhysicalResourceId=content_id(request.text("EdgePackagingJobName"), request.properties),
            Data={
                "EdgePackagingJobStatus": "COMPLETED",
                "ModelArtifact": artifact,
                "ModelDigest": manifest.digest,
                "ModelSignature": artifact + SIGNATURE_SUFFIX,
                "PackageSha256": sha256,
                "SignedBy": signature.key_id,
            },
        )

    def delete(self, request: Request) -> None:
        """Nothing: component versions and devices may still name the package; the bucket is retained."""

    def _present(self, request: Request) -> tuple[Manifest, str] | None:
        """The package that is there already, read through, with the SHA-256 of its bytes."""
        artifact = request.text("ModelArtifact")
        body = open_object(self._s3, *parse_uri(artifact))
        if body is None:
            return None
        reader = HashingReader(body, work=f"reading {artifact}", deadline=request.deadline)
        try:
            manifest = check_package_stream(reader, source=artifact)
        except PackageError as error:
            raise ResourceError(f"{error}; packages are never overwritten: find out who wrote it") from error
        wanted = request.text("ModelName"), request.text("ModelVersion")
        if (manifest.model_name, manifest.model_version) != wanted:
            raise ResourceError(
                f"{artifact} exists for model {manifest.model_name} {manifest.model_version}, expected {wanted[0]} "
                f"{wanted[1]}: packages are never overwritten"
            )
        self._check_digest(request, manifest, artifact)
        return manifest, reader.drain()

    def _package(self, request: Request) -> tuple[Manifest, str]:
        source, artifact = request.text("ModelSource"), request.text("ModelArtifact")
        deadline = request.deadline
        with (
            tempfile.TemporaryDirectory() as scratch,
            open_source(self._s3, source, scratch=Path(scratch), deadline=deadline) as files,
            ObjectWriter(
                self._s3, *parse_uri(artifact), deadline=deadline, kms_key_id=request.optional("KmsKeyId")
            ) as target,
        ):
            names = request.texts("Files") if "Files" in request.properties else list(files)
            if missing := sorted(set(names) - set(files)):
                raise ResourceError(f"{source}: {', '.join(missing)} expected in it, found {sorted(files)[:20]}")
            writer = PackageWriter(
                target, model_name=request.text("ModelName"), model_version=request.text("ModelVersion")
            )
            for name in sorted(set(names)):
                deadline.check(f"packaging {source}")
                with files[name].open() as stream:
                    writer.add(name, files[name].size, stream)
            manifest = writer.finish()
            self._check_digest(request, manifest, source)
            if (sha256 := target.finish()) is not None:
                return manifest, sha256
        # Another run of this job was quicker.
        present = self._present(request)
        if present is None:
            raise ResourceError(f"{artifact}: S3 says that it exists, and that it does not: deploy again")
        return present

    def _check_digest(self, request: Request, manifest: Manifest, what: str) -> None:
        expected = request.optional("ModelDigest")
        if expected not in {None, manifest.digest}:
            raise ResourceError(
                f"job {request.text('EdgePackagingJobName')}: {what} has model digest {manifest.digest}, synth "
                f"declared {expected}: it is not what was synthesised, and packages are never overwritten; deploy again"
            )


@functools.cache
def _handler() -> EdgePackagingJob:
    return EdgePackagingJob(boto3.client("s3", config=CLIENT), boto3.client("kms", config=CLIENT))


def on_event(event: Mapping[str, Any], context: object) -> Response:
    """Lambda entry point: the work is done when it returns."""
    return handle(_handler(), event, context)
