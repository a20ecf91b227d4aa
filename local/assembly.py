# SPDX-License-Identifier: Apache-2.0
"""What a synthesised environment declares, read from its templates in `cdk.out`."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class AssemblyError(ValueError):
    """The cloud assembly does not hold what is looked for."""


@dataclass(frozen=True)
class Assembly:
    """One stage of a cloud assembly: `path` is `cdk.out`, `stage` the environment's name."""

    path: Path
    stage: str

    @functools.cached_property
    def _resources(self) -> list[Mapping[str, Any]]:
        folder = self.path / f"assembly-{self.stage}"
        templates = sorted(folder.glob("*.template.json"))
        if not templates:
            raise AssemblyError(f"{folder}: templates are expected there, found none; synthesise first")
        documents = [json.loads(path.read_text(encoding="utf-8")) for path in templates]
        return [resource for document in documents for resource in document["Resources"].values()]

    def _of_type(self, type_: str) -> Iterator[Mapping[str, Any]]:
        return (resource["Properties"] for resource in self._resources if resource["Type"] == type_)

    def _one(self, type_: str, key: str, *, containing: str = "") -> str:
        values = [str(properties[key]) for properties in self._of_type(type_) if containing in str(properties.get(key))]
        if len(values) != 1:
            raise AssemblyError(f"{self.path}: one {type_} with {key} like {containing!r} is expected, found {values}")
        return values[0]

    @property
    def thing_names(self) -> list[str]:
        """Every device."""
        return [str(properties["ThingName"]) for properties in self._of_type("AWS::IoT::Thing")]

    @property
    def role_alias(self) -> str:
        """Of the token exchange role."""
        return self._one("AWS::IoT::RoleAlias", "RoleAlias")

    @property
    def device_role(self) -> str:
        """The token exchange role's name."""
        return self._one("AWS::IAM::Role", "RoleName", containing="SageMaker")

    @property
    def iot_policy(self) -> str:
        """Of the devices' certificates."""
        return self._one("AWS::IoT::Policy", "PolicyName")

    @property
    def capture_bucket(self) -> str:
        """Where captures go."""
        return self._one("AWS::S3::Bucket", "BucketName", containing="sagemaker")

    @property
    def artifact_bucket(self) -> str:
        """Where component artifacts and packages lie."""
        return self._one("AWS::S3::Bucket", "BucketName", containing="artifacts")

    def component(self, suffix: str) -> str:
        """The deployed component whose name ends with `suffix`."""
        names = [name for name in self._components if name.endswith(suffix)]
        if len(names) != 1:
            raise AssemblyError(f"{self.path}: one deployed component *{suffix} is expected, found {names}")
        return names[0]

    def version(self, component: str) -> str:
        """The deployed version of a component."""
        return str(self._components[component]["ComponentVersion"])

    def configuration(self, component: str) -> Mapping[str, Any]:
        """What the deployment merges into a component's configuration."""
        update = self._components[component].get("ConfigurationUpdate", {})
        return dict(json.loads(update.get("Merge", "{}")))

    @property
    def asks_components(self) -> bool:
        """Whether the nucleus asks components before an update: the classic one does, lite cannot."""
        return "aws.greengrass.Nucleus" in self._components

    @property
    def _components(self) -> Mapping[str, Any]:
        """What the deployment to the first device's group names: with canaries, there are two deployments."""
        members = {item["ThingName"]: item["ThingGroupName"] for item in self._of_type("Custom::ThingGroupMembership")}
        group = members.get(self.thing_names[0])
        targets = {str(item["TargetArn"]): item for item in self._of_type("AWS::GreengrassV2::Deployment")}
        found = [item for arn, item in targets.items() if arn.endswith(f":thinggroup/{group}")]
        if len(found) != 1:
            raise AssemblyError(
                f"{self.path}: one Greengrass deployment to the group {group} of {self.thing_names[0]} is expected, "
                f"found {len(found)} of it among {sorted(targets)}"
            )
        return dict(found[0]["Components"])
