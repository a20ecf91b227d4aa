# SPDX-License-Identifier: Apache-2.0
"""The open edge packaging job: from a model's files to the package that devices load.

`on_event` runs the job, `is_complete` describes it, in the words of CreateEdgePackagingJob and
DescribeEdgePackagingJob (specification §1.10).
"""

from __future__ import annotations

import functools
import hashlib
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import boto3

from edge_constructs.handler_kernel import Request, ResourceError, Response, complete, content_id, handle
from edge_constructs.s3_objects import S3, copy_hashed, put_once, stored_sha256
from edge_package import Manifest, PackageError, build_package


class EdgePackagingJob:
    """One job.

    Properties: JobName, ModelName, ModelVersion, Files (paths inside the source), ModelDigest (as synth computed it),
    SourceBucket and SourceKey (a zip), OutputBucket and OutputKey (of the package).
    """

    def __init__(self, s3: S3) -> None:
        self._s3 = s3

    def apply(self, request: Request) -> Response:
        """Run the job; a package that is already there with the right digest is left alone.

        Raises:
            ResourceError: the source is no zip, lacks a file, or packages to another digest than synth's.
        """
        response = Response(PhysicalResourceId=content_id(request.text("JobName"), request.properties))
        with tempfile.TemporaryDirectory() as folder:
            source, package = Path(folder, "source.zip"), Path(folder, "package.tar.gz")
            with source.open("w+b") as file:
                body = self._s3.get_object(Bucket=request.text("SourceBucket"), Key=request.text("SourceKey"))["Body"]
                copy_hashed(body, file)
            manifest = _package(request, source, package)
            if manifest.digest != request.text("ModelDigest"):
                raise ResourceError(
                    f"job {request.text('JobName')}: the source packages to model digest {manifest.digest}, synth "
                    f"declared {request.text('ModelDigest')}: the asset is not the synthesised one; deploy again"
                )
            with package.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            bucket, key = request.text("OutputBucket"), request.text("OutputKey")
            present = stored_sha256(self._s3, bucket, key)
            if present is None:
                with package.open("rb") as stream:
                    put_once(self._s3, bucket, key, stream, sha256=digest)
            elif present != digest:
                raise ResourceError(
                    f"s3://{bucket}/{key} exists with SHA-256 {present}, expected {digest}: "
                    "packages are never overwritten"
                )
        return response

    def describe(self, request: Request) -> Response:
        """Whether the package is there, and its attributes.

        Raises:
            ResourceError: the job said that it was done, but its package is gone.
        """
        bucket, key = request.text("OutputBucket"), request.text("OutputKey")
        digest = stored_sha256(self._s3, bucket, key)
        if digest is None:
            raise ResourceError(
                f"job {request.text('JobName')}: s3://{bucket}/{key} is gone: was it deleted? deploy again"
            )
        return Response(
            IsComplete=True,
            Data={
                "EdgePackagingJobStatus": "COMPLETED",
                "ModelArtifact": f"s3://{bucket}/{key}",
                "ModelDigest": request.text("ModelDigest"),
                "PackageSha256": digest,
            },
        )

    def delete(self, request: Request) -> None:
        """Nothing: component versions and devices may still name the package; the bucket is retained."""


def _package(request: Request, source: Path, target: Path) -> Manifest:
    uri = f"s3://{request.text('SourceBucket')}/{request.text('SourceKey')}"
    try:
        with zipfile.ZipFile(source) as archive:
            names = request.properties.get("Files")
            if not isinstance(names, list) or not names:
                raise ResourceError(f"property Files: a list of paths is expected, got {names!r}")
            if missing := sorted(set(names) - set(archive.namelist())):
                raise ResourceError(
                    f"{uri}: {', '.join(missing)} expected in it, found {sorted(archive.namelist())[:20]}"
                )

            def opener(name: str) -> IO[bytes]:
                return archive.open(name)

            return build_package(
                model_name=request.text("ModelName"),
                model_version=request.text("ModelVersion"),
                files={name: functools.partial(opener, name) for name in names},
                target=target,
            )
    except (zipfile.BadZipFile, PackageError) as error:
        raise ResourceError(f"{uri}: cannot be packaged: {error}") from error


@functools.cache
def _handler() -> EdgePackagingJob:
    return EdgePackagingJob(boto3.client("s3"))


def on_event(event: Mapping[str, Any], _context: object) -> Response:
    """Lambda entry point: start, change or drop the job."""
    return handle(_handler(), event)


def is_complete(event: Mapping[str, Any], _context: object) -> Response:
    """Lambda entry point: has the job completed?"""
    return complete(_handler().describe, event)
