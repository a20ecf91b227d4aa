# SPDX-License-Identifier: Apache-2.0
"""The CloudFormation types that the emulator lacks.

A type's ``Ref`` is the physical id that its ``create`` returns, ``Fn::GetAtt`` the attributes beside it. A changed
property of ``replacing`` makes a new resource; the old one is deleted after the update, unless it is retained.
"""

import dataclasses
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from local.aws.extension.errors import ApiError, invalid
from local.aws.extension.greengrass import Greengrass
from local.aws.extension.rest import check
from local.aws.extension.role_aliases import DEFAULT_SECONDS, RoleAliases

Properties = Mapping[str, Any]
Attributes = dict[str, str]
Created = tuple[str, Attributes]


@dataclasses.dataclass(frozen=True)
class ResourceType:
    """One type: ``create(logical_id, properties, stack_name)``, ``delete(id)``, perhaps ``update(id, properties)``."""

    create: Callable[[str, Properties, str], Created]
    delete: Callable[[str], None]
    replacing: tuple[str, ...]
    update: Callable[[str, Properties], Created] | None = None


def role_alias_type(aliases: Callable[[], RoleAliases]) -> ResourceType:
    """``AWS::IoT::RoleAlias``; ``aliases`` gives those of the account and region at work."""

    def create(logical_id: str, properties: Properties, stack_name: str) -> Created:
        name = properties.get("RoleAlias") or f"{stack_name}-{logical_id}-{uuid.uuid4().hex[:12]}"
        seconds = int(properties.get("CredentialDurationSeconds", DEFAULT_SECONDS))
        alias = aliases().create(name, role_arn=_required(properties, "RoleArn"), seconds=seconds)
        return name, {"RoleAliasArn": alias.arn}

    def update(name: str, properties: Properties) -> Created:
        seconds = int(properties.get("CredentialDurationSeconds", DEFAULT_SECONDS))
        alias = aliases().update(name, role_arn=_required(properties, "RoleArn"), seconds=seconds)
        return name, {"RoleAliasArn": alias.arn}

    return ResourceType(
        create=create, update=update, delete=_tolerant(lambda: aliases().delete), replacing=("RoleAlias",)
    )


def component_version_type(greengrass: Callable[[], Greengrass]) -> ResourceType:
    """``AWS::GreengrassV2::ComponentVersion``."""

    def create(_logical_id: str, properties: Properties, _stack_name: str) -> Created:
        recipe = _required(properties, "InlineRecipe")
        created = greengrass().components.create(str(recipe).encode(), tags=properties.get("Tags", {}))
        attributes = {"Arn": created.arn, "ComponentName": created.name, "ComponentVersion": created.version}
        return created.arn, attributes

    return ResourceType(
        create=create,
        delete=_tolerant(lambda: greengrass().components.delete),
        replacing=("InlineRecipe", "LambdaFunction"),
    )


def deployment_type(greengrass: Callable[[], Greengrass], shape: Any) -> ResourceType:
    """``AWS::GreengrassV2::Deployment``; ``shape`` is botocore's of the input of CreateDeployment."""

    def create(_logical_id: str, properties: Properties, _stack_name: str) -> Created:
        request = _to_api(properties, shape)
        check(request, shape)
        created = greengrass().deployments.create(request)
        return created.id, {"DeploymentId": created.id}

    def delete(deployment_id: str) -> None:
        deployments = greengrass().deployments
        if deployments.status(deployments.get(deployment_id)) == "ACTIVE":
            deployments.cancel(deployment_id)
        deployments.delete(deployment_id)

    properties = (
        "TargetArn",
        "ParentTargetArn",
        "DeploymentName",
        "Components",
        "DeploymentPolicies",
        "IotJobConfiguration",
    )
    return ResourceType(create=create, delete=_tolerant(lambda: delete), replacing=properties)


def _to_api(value: Any, shape: Any) -> Any:
    """CloudFormation's spelling of a structure in the API's: the first letter of each member in lower case."""
    if shape is None:
        return value
    if shape.type_name == "structure" and isinstance(value, Mapping):
        lowered = {name[:1].lower() + name[1:]: item for name, item in value.items()}
        return {name: _to_api(item, shape.members.get(name)) for name, item in lowered.items()}
    if shape.type_name == "map" and isinstance(value, Mapping):
        return {name: _to_api(item, shape.value) for name, item in value.items()}
    if shape.type_name == "list" and isinstance(value, list):
        return [_to_api(item, shape.member) for item in value]
    if shape.type_name in {"integer", "long"} and isinstance(value, str) and value.isdigit():
        return int(value)  # template parameters are texts
    return value


def _required(properties: Properties, name: str) -> Any:
    if name not in properties:
        raise invalid(f"property {name} is required; there are {', '.join(sorted(properties)) or 'none'}")
    return properties[name]


def _tolerant(delete: Callable[[], Callable[[str], None]]) -> Callable[[str], None]:
    """A stack's delete, which has nothing to do when the resource is gone already."""

    def deleted(physical_id: str) -> None:
        try:
            delete()(physical_id)
        except ApiError as error:
            if error.code != "ResourceNotFoundException":
                raise

    return deleted
