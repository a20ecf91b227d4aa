# SPDX-License-Identifier: Apache-2.0
"""SageMaker Edge Manager's own packaging job (specification §1.10), as AWS documented it until 26 April 2024."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import boto3

from edge_constructs.handler_kernel import Request, ResourceError, Response, complete, handle
from edge_constructs.s3_objects import CLIENT, Readable, is_stored, parse_uri, stored_sha256
from edge_constructs.sagemaker_jobs import JobService, SageMakerJob, utc_now

_ECHOED = ("CompilationJobName", "ModelName", "ModelVersion")


class SageMaker(Protocol):
    """The calls of boto3's SageMaker client that are made here."""

    @property
    def create_edge_packaging_job(self) -> Callable[..., Any]:
        """CreateEdgePackagingJob."""

    @property
    def describe_edge_packaging_job(self) -> Callable[..., Any]:
        """DescribeEdgePackagingJob."""

    @property
    def stop_edge_packaging_job(self) -> Callable[..., Any]:
        """StopEdgePackagingJob."""


def packaging_job(sagemaker: SageMaker, s3: Readable, *, now: Callable[[], Any] = utc_now) -> SageMakerJob:
    """The handler.

    Properties: JobName, TimeoutSeconds, CompilationJobName, ModelName, ModelVersion, RoleArn, OutputConfig (with the
    preset deployment) and, optional, ResourceKey, as CreateEdgePackagingJob takes them. Attributes:
    EdgePackagingJobStatus, ModelArtifact, PackageSha256 (of its bytes), ModelSignature and, with a preset,
    ComponentArn.
    """

    def start(name: str, request: Request) -> None:
        key = request.optional("ResourceKey")
        sagemaker.create_edge_packaging_job(
            EdgePackagingJobName=name,
            **{property_: request.text(property_) for property_ in (*_ECHOED, "RoleArn")},
            OutputConfig=dict(request.table("OutputConfig")),
            **({"ResourceKey": key} if key else {}),
        )

    def same(found: Mapping[str, Any], request: Request) -> bool:
        return all(found.get(name) == request.text(name) for name in _ECHOED)

    service = JobService(
        kind="edge packaging job",
        status="EdgePackagingJobStatus",
        reason="EdgePackagingJobStatusMessage",
        start=start,
        describe=lambda name: sagemaker.describe_edge_packaging_job(EdgePackagingJobName=name),
        stop=lambda name: sagemaker.stop_edge_packaging_job(EdgePackagingJobName=name),
        attributes=lambda found, request: _attributes(found, request, s3),
        same=same,
        spent=lambda found: _spent(found, s3),
    )
    return SageMakerJob(service, now=now)


def _attributes(found: Mapping[str, Any], request: Request, s3: Readable) -> Mapping[str, str] | None:
    """Of a completed job; None while its preset deployment still runs.

    Raises:
        ResourceError: the preset deployment failed, or there is no package: the job is called COMPLETED all the same.
    """
    output = request.table("OutputConfig")
    if not output.get("PresetDeploymentType"):
        return _package(found, request, s3)
    preset = found.get("PresetDeploymentOutput", {})
    if preset.get("Status") == "FAILED":
        raise ResourceError(_preset_failure(found, preset.get("StatusMessage") or "no reason was given", output))
    if preset.get("Status") != "COMPLETED":
        return None
    return {**_package(found, request, s3), "ComponentArn": preset.get("Artifact", "")}


def _spent(found: Mapping[str, Any], s3: Readable) -> bool:
    """Whether a completed job has no component, or its package went: its name finds it for ever, it never reruns."""
    if found.get("PresetDeploymentOutput", {}).get("Status") == "FAILED":
        return True
    return not is_stored(s3, found["ModelArtifact"])


def _package(found: Mapping[str, Any], request: Request, s3: Readable) -> dict[str, str]:
    artifact = found["ModelArtifact"]
    sha256 = stored_sha256(s3, *parse_uri(artifact), deadline=request.deadline)
    if sha256 is None:
        raise ResourceError(
            f"edge packaging job {found['EdgePackagingJobName']} is COMPLETED, but there is no {artifact}: deploy again"
        )
    return {
        "EdgePackagingJobStatus": found["EdgePackagingJobStatus"],
        "ModelArtifact": artifact,
        "ModelSignature": found.get("ModelSignature", ""),
        "PackageSha256": sha256,
    }


def _preset_failure(found: Mapping[str, Any], message: str, output: Mapping[str, Any]) -> str:
    wanted = json.loads(output.get("PresetDeploymentConfig") or "{}")
    component = f"{wanted.get('ComponentName', 'its component')} {wanted.get('ComponentVersion', '')}".strip()
    failure = (
        f"edge packaging job {found['EdgePackagingJobName']} is COMPLETED, but its Greengrass component is not made: "
        f"{message}"
    )
    if any(sign in message.lower() for sign in ("already exist", "conflict", "duplicate")):
        return (
            f"{failure}. {component} exists already, and a version cannot be changed: give the model a new version "
            "(make lock), or delete that component version if nothing uses it"
        )
    return failure


@functools.cache
def _handler() -> SageMakerJob:
    return packaging_job(boto3.client("sagemaker", config=CLIENT), boto3.client("s3", config=CLIENT))


def on_event(event: Mapping[str, Any], context: object) -> Response:
    """Lambda entry point: start, change or stop the job."""
    return handle(_handler(), event, context)


def is_complete(event: Mapping[str, Any], context: object) -> Response:
    """Lambda entry point: has the job completed?"""
    return complete(_handler().describe, event, context)
