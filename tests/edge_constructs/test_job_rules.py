# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from typing import Any, get_args

import boto3
import pytest

from edge_constructs import compilation_settings, job_rules
from edge_constructs.job_rules import JobPropertyError
from edge_constructs.packaging_job import PackagingProperties

PROPERTIES: dict[str, Any] = {
    "job_name": "dev-digits-1-0",
    "model_name": "digits",
    "model_version": "1.0",
    "output_location": "s3://bucket/models",
    "preset_deployment_type": "GreengrassV2Component",
    "preset_deployment_config": {"ComponentName": "dev.model", "ComponentVersion": "1.0.0"},
}


@pytest.fixture(scope="module")
def shapes() -> Any:
    return boto3.session.Session().client("sagemaker", region_name="us-east-1").meta.service_model


def test_the_rules_are_those_of_the_service_model(shapes: Any) -> None:
    def pattern(name: str) -> str:
        return str(shapes.shape_for(name).metadata["pattern"])

    assert pattern("EntityName") == job_rules.ENTITY_NAME
    assert pattern("S3Uri") == job_rules.S3_URI
    assert pattern("EdgeVersion").replace("+", "") in job_rules.EDGE_VERSION
    assert pattern("KmsKeyId").rstrip("*") in job_rules.KMS_KEY_ID
    assert set(shapes.shape_for("Framework").enum) == set(get_args(compilation_settings.Framework))
    assert set(shapes.shape_for("TargetDevice").enum) == set(get_args(compilation_settings.TargetDevice))
    assert shapes.shape_for("EdgePresetDeploymentType").enum == [job_rules.GREENGRASS_V2_COMPONENT]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"job_name": "a_b"}, "EdgePackagingJobName"),
        ({"job_name": "a" * 48}, "at most 47 characters"),
        ({"job_family": "dev-other"}, "job_family: the start of the job's name is expected, got 'dev-other'"),
        ({"model_name": "-x"}, "ModelName: 1 to 63 letters"),
        ({"model_version": "1-0"}, r"ModelVersion: .* got '1-0'"),
        ({"model_version": "1" * 31}, "ModelVersion"),
        ({"output_location": "bucket/models"}, "an address like s3://bucket/prefix"),
        ({"output_location": "s3://bucket/" + "m" * 1024}, "at most 1024 characters"),
        ({"kms_key_id": "a b"}, "KmsKeyId"),
        ({"preset_deployment_type": "Greengrass"}, "one of GreengrassV2Component is expected, got 'Greengrass'"),
        ({"preset_deployment_type": ""}, "PresetDeploymentConfig without PresetDeploymentType"),
        ({"preset_deployment_config": {"OS": "Linux"}}, "OS: no such key; known are ComponentName"),
        ({"preset_deployment_config": {"ComponentVersion": "1.0"}}, "a version like 1.2.3"),
        ({"preset_deployment_config": {"ComponentName": ""}}, "ComponentName: a text is expected"),
        ({"preset_deployment_config": {"PlatformOS": "Linux"}}, "are expected together"),
        (
            {"preset_deployment_config": {"PlatformOS": "Linux", "PlatformArchitecture": "Windows64_x64"}},
            "one of Linux x86_64, Linux ARMV8",
        ),
    ],
)
def test_a_property_that_sagemaker_would_refuse_is_refused_at_synth(change: dict[str, Any], expected: str) -> None:
    PackagingProperties(**PROPERTIES)
    with pytest.raises(JobPropertyError, match=expected) as refused:
        PackagingProperties(**{**PROPERTIES, **change})
    assert re.match(r"job \S+: ", str(refused.value))
