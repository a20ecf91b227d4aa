# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import aws_cdk.aws_s3_assets as s3_assets
from constructs import Construct

from edge_constructs.arns import object_arn
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


def model_source(scope: Construct, id_: str, model: ModelFolder) -> ModelSource:
    """The files of a model: those of its folder, as a CDK asset, or what its folder says that lies in S3."""
    if model.source is not None:
        return location_source(scope, model.source.uri, files=model.files, digest=model.digest)
    asset = _asset(scope, id_, model)
    uri = f"s3://{asset.s3_bucket_name}/{asset.s3_object_key}"
    return ModelSource(uri=uri, objects=(object_arn(scope, uri),), files=model.files, digest=model.digest)


def location_source(scope: Construct, uri: str, *, files: tuple[str, ...], digest: str) -> ModelSource:
    """What lies in S3 already.

    Args:
        scope: for the partition of its ARN.
        uri: its `s3://` address.
        files: the paths in it that make the model.
        digest: the model digest that they must have.
    """
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if key.endswith("/") or not key:
        objects = (object_arn(scope, f"{uri}*"),)
        return ModelSource(uri=uri, objects=objects, listed_bucket=bucket, files=files, digest=digest)
    return ModelSource(uri=uri, objects=(object_arn(scope, uri),), files=files, digest=digest)


def _asset(scope: Construct, id_: str, model: ModelFolder) -> s3_assets.Asset:
    """The model's files and no others, staged: an asset's patterns cannot name `sub/model.onnx` or `model[1].onnx`."""
    with tempfile.TemporaryDirectory() as folder:
        for name in model.files:
            target = Path(folder, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(model.folder / name, target)
        return s3_assets.Asset(scope, id_, path=folder)
