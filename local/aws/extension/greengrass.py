# SPDX-License-Identifier: Apache-2.0
import base64
from collections.abc import Iterable, Mapping
from typing import Any

from local.aws.extension.components import ComponentVersion, ComponentVersions
from local.aws.extension.core_devices import CoreDevice, CoreDevices
from local.aws.extension.deployments import Deployment, Deployments, Execution
from local.aws.extension.errors import invalid, not_found
from local.aws.extension.rest import Operation, Parameters
from local.aws.extension.world import World

Json = dict[str, Any]


class Greengrass:
    """AWS IoT Greengrass V2 of one account and region, as its API shows it.

    Lists come in one page, whatever ``maxResults`` says; client devices, service roles and tags after creation are
    not there.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.components = ComponentVersions(world)
        self.deployments = Deployments(world, self.components)
        self.devices = CoreDevices(world)

    def operations(self) -> Mapping[str, Operation]:
        """The operations by name, for :class:`~local.aws.extension.rest.RestService`."""
        return {
            "CreateComponentVersion": self._create_component_version,
            "GetComponent": self._get_component,
            "DescribeComponent": self._describe_component,
            "ListComponents": self._list_components,
            "ListComponentVersions": self._list_component_versions,
            "DeleteComponent": self._delete_component,
            "CreateDeployment": self._create_deployment,
            "GetDeployment": self._get_deployment,
            "ListDeployments": self._list_deployments,
            "CancelDeployment": self._cancel_deployment,
            "DeleteDeployment": self._delete_deployment,
            "ListEffectiveDeployments": self._list_effective_deployments,
            "GetCoreDevice": self._get_core_device,
            "ListCoreDevices": self._list_core_devices,
            "DeleteCoreDevice": self._delete_core_device,
            "ListInstalledComponents": self._list_installed_components,
        }

    def job_arn(self, deployment: Deployment) -> str:
        """ARN of the AWS IoT job that carries out a deployment."""
        return f"arn:aws:iot:{self._world.region}:{self._world.account}:job/{deployment.job_id}"

    # --- component versions -----------------------------------------------------------------------------------------
    def _create_component_version(self, request: Parameters) -> Json:
        if "inlineRecipe" not in request:
            raise invalid("CreateComponentVersion has no inlineRecipe; components from Lambda functions are not here")
        created = self.components.create(request["inlineRecipe"], tags=request.get("tags", {}))
        return {
            "arn": created.arn,
            "componentName": created.name,
            "componentVersion": created.version,
            "creationTimestamp": created.created,
            "status": _deployable(),
        }

    def _get_component(self, request: Parameters) -> Json:
        if request.get("recipeOutputFormat", "JSON") != "JSON":
            raise invalid(f"recipeOutputFormat is {request['recipeOutputFormat']!r}, expected 'JSON'")
        version = self.components.at(request["arn"])
        recipe = base64.b64encode(version.recipe).decode()
        return {"recipeOutputFormat": "JSON", "recipe": recipe, "tags": dict(version.tags)}

    def _describe_component(self, request: Parameters) -> Json:
        version = self.components.at(request["arn"])
        return {
            "arn": version.arn,
            "componentName": version.name,
            "componentVersion": version.version,
            "creationTimestamp": version.created,
            "status": _deployable(),
            **_description(version),
            "tags": dict(version.tags),
        }

    def _list_components(self, request: Parameters) -> Json:
        if request.get("scope", "PRIVATE") != "PRIVATE":
            return {"components": []}
        newest = {version.name: version for version in self.components}
        return {
            "components": [
                {
                    "arn": version.arn.rpartition(":versions:")[0],
                    "componentName": version.name,
                    "latestVersion": {
                        "arn": version.arn,
                        "componentVersion": version.version,
                        "creationTimestamp": version.created,
                        **_description(version),
                    },
                }
                for version in newest.values()
            ]
        }

    def _list_component_versions(self, request: Parameters) -> Json:
        prefix = request["arn"] + ":versions:"
        versions = [version for version in self.components if version.arn.startswith(prefix)]
        if not versions:
            raise not_found("component", request["arn"])
        return {
            "componentVersions": [
                {"componentName": version.name, "componentVersion": version.version, "arn": version.arn}
                for version in reversed(versions)
            ]
        }

    def _delete_component(self, request: Parameters) -> Json:
        self.components.delete(request["arn"])
        return {}

    # --- deployments ------------------------------------------------------------------------------------------------
    def _create_deployment(self, request: Parameters) -> Json:
        created = self.deployments.create(request)
        return {"deploymentId": created.id, "iotJobId": created.job_id, "iotJobArn": self.job_arn(created)}

    def _get_deployment(self, request: Parameters) -> Json:
        deployment = self.deployments.get(request["deploymentId"])
        members = ("components", "deploymentPolicies", "iotJobConfiguration", "tags")
        asked = {key: deployment.request[key] for key in members if key in deployment.request}
        return {
            **self._summary(deployment),
            **asked,
            "iotJobId": deployment.job_id,
            "iotJobArn": self.job_arn(deployment),
        }

    def _list_deployments(self, request: Parameters) -> Json:
        found = self.deployments.all()
        if "targetArn" in request:
            found = [deployment for deployment in found if deployment.target == request["targetArn"]]
        if request.get("historyFilter", "LATEST_ONLY") == "LATEST_ONLY":
            found = [deployment for deployment in found if deployment is self.deployments.latest(deployment.target)]
        return {"deployments": [self._summary(deployment) for deployment in found]}

    def _cancel_deployment(self, request: Parameters) -> Json:
        deployment = self.deployments.cancel(request["deploymentId"])
        return {"message": f"deployment {deployment.id} is cancelled"}

    def _delete_deployment(self, request: Parameters) -> Json:
        self.deployments.delete(request["deploymentId"])
        return {}

    def _summary(self, deployment: Deployment) -> Json:
        optional = ("deploymentName", "parentTargetArn")
        return {
            "targetArn": deployment.target,
            "revisionId": str(deployment.revision),
            "deploymentId": deployment.id,
            "deploymentStatus": self.deployments.status(deployment),
            "creationTimestamp": deployment.created,
            "isLatestForTarget": deployment is self.deployments.latest(deployment.target),
            **{key: deployment.request[key] for key in optional if key in deployment.request},
        }

    # --- core devices -----------------------------------------------------------------------------------------------
    def _list_effective_deployments(self, request: Parameters) -> Json:
        effective = self.deployments.effective(request["coreDeviceThingName"])
        return {"effectiveDeployments": [self._effective(*item) for item in effective]}

    def _effective(self, deployment: Deployment, execution: Execution) -> Json:
        document = {
            "deploymentId": deployment.id,
            "deploymentName": deployment.request.get("deploymentName", ""),
            "iotJobId": deployment.job_id,
            "iotJobArn": self.job_arn(deployment),
            "targetArn": deployment.target,
            "coreDeviceExecutionStatus": execution.status,
            "creationTimestamp": deployment.created,
            "modifiedTimestamp": execution.modified,
        }
        reason = execution.details.get("deployment-failure-cause") or execution.details.get(
            "detailed-deployment-status"
        )
        if reason:
            document["reason"] = str(reason)
        stack, types = (
            _texts(execution.details.get(key)) for key in ("deployment-error-stack", "deployment-error-types")
        )
        if stack or types:
            document["statusDetails"] = {"errorStack": stack, "errorTypes": types}
        return document

    def _get_core_device(self, request: Parameters) -> Json:
        device = self.devices.get(request["coreDeviceThingName"])
        return {**_device(device), "coreVersion": device.version}

    def _delete_core_device(self, request: Parameters) -> Json:
        self.devices.delete(request["coreDeviceThingName"])
        return {}

    def _list_core_devices(self, request: Parameters) -> Json:
        found: Iterable[CoreDevice] = self.devices.all()
        if "status" in request:
            found = (device for device in found if device.status == request["status"])
        if "runtime" in request:
            found = (device for device in found if device.runtime == request["runtime"])
        if "thingGroupArn" in request:
            things = self._world.things_of(request["thingGroupArn"])
            if things is None:
                raise not_found("thing group", request["thingGroupArn"])
            found = (device for device in found if device.thing in things)
        return {"coreDevices": [_device(device) for device in found]}

    def _list_installed_components(self, request: Parameters) -> Json:
        device = self.devices.get(request["coreDeviceThingName"])
        everything = request.get("topologyFilter", "ROOT") == "ALL"
        return {
            "installedComponents": [
                {
                    "componentName": name,
                    "componentVersion": component["componentVersion"],
                    "lifecycleState": component["status"],
                    "isRoot": bool(component.get("isRoot")),
                    "lastReportedTimestamp": device.reported,
                }
                for name, component in device.components.items()
                if everything or component.get("isRoot")
            ]
        }


def _deployable() -> Json:
    return {"componentState": "DEPLOYABLE", "message": "NONE", "errors": {}}


def _description(version: ComponentVersion) -> Json:
    """What the recipe says of itself; the model has no empty texts."""
    texts = {"publisher": version.publisher, "description": version.description}
    platforms = [{"attributes": {key: str(value) for key, value in item.items()}} for item in version.platforms]
    return {**{key: text for key, text in texts.items() if text}, "platforms": platforms}


def _device(device: CoreDevice) -> Json:
    document = {
        "coreDeviceThingName": device.thing,
        "status": device.status,
        "lastStatusUpdateTimestamp": device.reported,
        "platform": device.platform,
        "architecture": device.architecture,
    }
    return {**document, "runtime": device.runtime} if device.runtime else document


def _texts(value: Any) -> list[str]:
    """A list that a nucleus sent as one text, such as ``[A, B]``, or as a list."""
    if isinstance(value, list):
        return [str(item) for item in value]
    return [item.strip() for item in str(value or "").strip("[]").split(",") if item.strip()]
