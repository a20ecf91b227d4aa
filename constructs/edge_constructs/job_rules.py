# SPDX-License-Identifier: Apache-2.0
"""What SageMaker takes as properties of jobs (specification §1.9 to §1.11), checked before anything is synthesised."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

_UNRESOLVED = "${Token["  # how the CDK writes a value into a string that only deployment knows
ENTITY_NAME = r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"
EDGE_VERSION = r"[a-zA-Z0-9\ \_\.]{1,30}"
S3_URI = r"(https|s3)://([^/]+)/?(.*)"
KMS_KEY_ID = r"[a-zA-Z0-9:/_-]{0,2048}"
FRAMEWORK_VERSION = r"[0-9]\.[A-Za-z0-9.]{1,8}"
GREENGRASS_V2_COMPONENT = "GreengrassV2Component"
PLATFORMS = {
    "Windows": ("Windows32_x86", "Windows64_x64"),
    "Linux": ("Linux x86_64", "Linux ARMV8"),
}

_LONGEST_URI = 1024
_PRESET_KEYS = ("ComponentName", "ComponentDescription", "ComponentVersion", "PlatformOS", "PlatformArchitecture")


class JobPropertyError(ValueError):
    """A job's property is not what SageMaker takes; the message names job, property, expectation and finding."""


def check_text(job: str, name: str, value: str, pattern: str, *, expected: str) -> None:
    """Hold a property against its pattern. What is known at deploy time only passes.

    Raises:
        JobPropertyError: it does not match.
    """
    if _UNRESOLVED not in value and not re.fullmatch(pattern, value):
        raise JobPropertyError(f"job {job}: {name}: {expected} is expected, got {value!r}")


def check_family(job: str, family: str) -> None:
    """Hold what a job's permissions are bound to against its name; blank: the name itself.

    Raises:
        JobPropertyError: the name starts otherwise.
    """
    if not job.startswith(family):
        raise JobPropertyError(f"job {job}: job_family: the start of the job's name is expected, got {family!r}")


def check_uri(job: str, name: str, value: str) -> None:
    """Hold an S3 address against SageMaker's rule.

    Raises:
        JobPropertyError: it is none, or too long.
    """
    check_text(job, name, value, S3_URI, expected="an address like s3://bucket/prefix")
    if len(value) > _LONGEST_URI:
        raise JobPropertyError(f"job {job}: {name}: at most {_LONGEST_URI} characters are expected, got {len(value)}")


def check_choice(job: str, name: str, value: str, choices: Collection[str]) -> None:
    """Hold a property against the values that there are.

    Raises:
        JobPropertyError: it is none of them.
    """
    if value not in choices:
        raise JobPropertyError(f"job {job}: {name}: one of {', '.join(choices)} is expected, got {value!r}")


def preset_config(job: str, config: Mapping[str, Any]) -> str:
    """PresetDeploymentConfig as the JSON text that the API takes.

    Raises:
        JobPropertyError: an unknown key, a version that is not semantic, or half a platform.
    """
    if unknown := sorted(set(config) - set(_PRESET_KEYS)):
        raise JobPropertyError(
            f"job {job}: PresetDeploymentConfig: {', '.join(unknown)}: no such key; known are {', '.join(_PRESET_KEYS)}"
        )
    for name, value in config.items():
        if not isinstance(value, str) or not value:
            raise JobPropertyError(f"job {job}: PresetDeploymentConfig.{name}: a text is expected, got {value!r}")
    version = config.get("ComponentVersion", "1.0.0")
    check_text(
        job, "PresetDeploymentConfig.ComponentVersion", version, r"\d+\.\d+\.\d+", expected="a version like 1.2.3"
    )
    system, architecture = config.get("PlatformOS"), config.get("PlatformArchitecture")
    if (system is None) != (architecture is None):
        raise JobPropertyError(
            f"job {job}: PresetDeploymentConfig: PlatformOS and PlatformArchitecture are expected together, got "
            f"{system!r} and {architecture!r}"
        )
    if system is not None and architecture is not None:
        check_choice(job, "PresetDeploymentConfig.PlatformOS", system, PLATFORMS)
        check_choice(job, "PresetDeploymentConfig.PlatformArchitecture", architecture, PLATFORMS[system])
    return json.dumps(config, sort_keys=True, separators=(",", ":"))
