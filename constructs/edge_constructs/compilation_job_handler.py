# SPDX-License-Identifier: Apache-2.0
"""SageMaker Neo's compilation job (specification §1.9)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import boto3

from edge_constructs.handler_kernel import Request, ResourceError, Response, complete, handle
from edge_constructs.s3_objects import CLIENT, Readable, is_stored, parse_uri
from edge_constructs.sagemaker_jobs import JobService, SageMakerJob, utc_now


class SageMaker(Protocol):
    """The calls of boto3's SageMaker client that are made here."""

    @property
    def create_compilation_job(self) -> Callable[..., Any]:
        """CreateCompilationJob."""

    @property
    def describe_compilation_job(self) -> Callable[..., Any]:
        """DescribeCompilationJob."""

    @property
    def stop_compilation_job(self) -> Callable[..., Any]:
        """StopCompilationJob."""


class S3(Readable, Protocol):
    """The calls of boto3's S3 client that are made here."""

    @property
    def copy_object(self) -> Callable[..., Any]:
        """CopyObject."""


def compilation_job(sagemaker: SageMaker, s3: S3, *, now: Callable[[], Any] = utc_now) -> SageMakerJob:
    """The handler.

    Properties: ModelArchive (`s3://` address of the CDK's asset; it is copied to the InputConfig's address, as Neo asks
    for a name that ends in .tar.gz and assets have none), JobName, TimeoutSeconds, MaxRuntimeInSeconds, RoleArn,
    InputConfig and OutputConfig as CreateCompilationJob takes them. Attributes: CompilationJobName, S3ModelArtifacts.
    """

    def start(name: str, request: Request) -> None:
        bucket, key = parse_uri(request.text("ModelArchive"))
        target, target_key = parse_uri(_archive(request))
        s3.copy_object(CopySource={"Bucket": bucket, "Key": key}, Bucket=target, Key=target_key)
        sagemaker.create_compilation_job(
            CompilationJobName=name,
            RoleArn=request.text("RoleArn"),
            InputConfig=dict(request.table("InputConfig")),
            OutputConfig=dict(request.table("OutputConfig")),
            StoppingCondition={"MaxRuntimeInSeconds": request.seconds("MaxRuntimeInSeconds")},
        )

    def same(found: Mapping[str, Any], request: Request) -> bool:
        return bool(found["InputConfig"]["S3Uri"] == _archive(request))

    def attributes(found: Mapping[str, Any], _request: Request) -> Mapping[str, str]:
        return {
            "CompilationJobName": found["CompilationJobName"],
            "S3ModelArtifacts": found["ModelArtifacts"]["S3ModelArtifacts"],
        }

    service = JobService(
        kind="compilation job",
        status="CompilationJobStatus",
        reason="FailureReason",
        start=start,
        describe=lambda name: sagemaker.describe_compilation_job(CompilationJobName=name),
        stop=lambda name: sagemaker.stop_compilation_job(CompilationJobName=name),
        attributes=attributes,
        same=same,
        # Its name finds it for ever, and it never runs again: what went can only be written by another.
        spent=lambda found: not is_stored(s3, found["ModelArtifacts"]["S3ModelArtifacts"]),
    )
    return SageMakerJob(service, now=now)


def _archive(request: Request) -> str:
    """Where Neo is told to read."""
    value = request.table("InputConfig").get("S3Uri")
    if not isinstance(value, str) or not value:
        raise ResourceError(f"property InputConfig.S3Uri: an s3:// address is expected, got {value!r}")
    return value


@functools.cache
def _handler() -> SageMakerJob:
    return compilation_job(boto3.client("sagemaker", config=CLIENT), boto3.client("s3", config=CLIENT))


def on_event(event: Mapping[str, Any], context: object) -> Response:
    """Lambda entry point: start, change or stop the job."""
    return handle(_handler(), event, context)


def is_complete(event: Mapping[str, Any], context: object) -> Response:
    """Lambda entry point: has the job completed?"""
    return complete(_handler().describe, event, context)
