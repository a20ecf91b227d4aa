# SPDX-License-Identifier: Apache-2.0
"""What an environment says about packaging its models (specification §1.10 and §1.11)."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ConfigDict, model_validator
from pydantic.dataclasses import dataclass

from edge_constructs.job_rules import KMS_KEY_ID, PLATFORMS

_settings = dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))

# By an id alone no policy could name the key, and AWS's own keys can be given to nobody.
_KEY = re.compile(r"|alias/(?!aws/)[a-zA-Z0-9/_-]{1,250}|arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[a-zA-Z0-9-]{1,128}")


def _key(value: str) -> str:
    if not _KEY.fullmatch(value) or not re.fullmatch(KMS_KEY_ID, value):
        raise ValueError("should be the ARN of a key (arn:aws:kms:…:key/…) or an alias of yours (alias/name)")
    return value


Key = Annotated[str, AfterValidator(_key)]
Architecture = Literal["Linux x86_64", "Linux ARMV8", "Windows32_x86", "Windows64_x64"]
# Edge Manager's words in Greengrass's.
_GREENGRASS = {"Linux x86_64": "amd64", "Linux ARMV8": "aarch64", "Windows32_x86": "x86", "Windows64_x64": "amd64"}


@_settings
class PackagingSettings:
    """How packages are made.

    `kms_key_id` encrypts them in S3, `resource_key` the volume of SageMaker's own job: each the ARN of a key, or an
    alias (`alias/name`); blank: the bucket's and SageMaker's own encryption. With a platform, the model's component is
    installed there alone.
    """

    kms_key_id: Key = ""
    resource_key: Key = ""
    platform_os: Literal["Linux", "Windows"] | None = None
    platform_architecture: Architecture | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        system, architecture = self.platform_os, self.platform_architecture
        if (system is None) != (architecture is None):
            raise ValueError(
                f"should have platform_os and platform_architecture together, has {system!r} and {architecture!r}"
            )
        if system is not None and architecture not in PLATFORMS[system]:
            raise ValueError(
                f"should have one of {', '.join(PLATFORMS[system])} as platform_architecture of {system}, has "
                f"{architecture!r}"
            )
        return self

    @property
    def architecture(self) -> str:
        """The platform's architecture in Greengrass's word; blank: any."""
        return _GREENGRASS[self.platform_architecture] if self.platform_architecture else ""

    @property
    def preset(self) -> dict[str, str]:
        """The platform as PresetDeploymentConfig takes it."""
        if self.platform_os is None or self.platform_architecture is None:
            return {}
        return {"PlatformOS": self.platform_os, "PlatformArchitecture": self.platform_architecture}
