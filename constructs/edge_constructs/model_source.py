# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass

import aws_cdk.aws_s3_assets as s3_assets
from constructs import Construct

from edge_constructs.job_rules import JobPropertyError
from edge_constructs.model_folder import ModelFolder


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """What an edge packaging job makes a package of.

    Attributes:
        uri: `s3://bucket/prefix/` is a folder, `….zip` and `….tar.gz` are archives, all else is a single file.
        objects: ARNs of the objects that the job must read.
        listed_bucket: the bucket whose folder it is; blank for all other sources.
        files: the paths that make the model; empty for all.
        digest: the model digest that synth computed; blank where only the job will know it.
    """

    uri: str
    objects: tuple[str, ...]
    listed_bucket: str = ""
    files: tuple[str, ...] = ()
    digest: str = ""


def folder_source(scope: Construct, id_: str, model: ModelFolder) -> ModelSource:
    """The files of a model's folder as a CDK asset."""
    patterns = ["*", *(f"!{name}" for name in model.files)]
    asset = s3_assets.Asset(scope, id_, path=str(model.folder), exclude=patterns)
    uri = f"s3://{asset.s3_bucket_name}/{asset.s3_object_key}"
    return ModelSource(uri=uri, objects=(object_arn(uri),), files=model.files, digest=model.manifest.digest)


def location_source(uri: str) -> ModelSource:
    """What lies in S3 already.

    Raises:
        JobPropertyError: it is no `s3://` address.
    """
    bucket, slash, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket or not slash:
        raise JobPropertyError(f"model source: an address like s3://bucket/key is expected, got {uri!r}")
    if key.endswith("/") or not key:
        return ModelSource(uri=uri, objects=(object_arn(f"{uri}*"),), listed_bucket=bucket)
    return ModelSource(uri=uri, objects=(object_arn(uri),))


def object_arn(uri: str) -> str:
    """The ARN of an object, or of a pattern of objects, by its `s3://` address."""
    return f"arn:aws:s3:::{uri.removeprefix('s3://')}"
