# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aws_cdk as cdk
from constructs import Construct

from edge_constructs.component_lock import ComponentLock
from edge_constructs.component_source import ComponentSource, model_component
from edge_constructs.fleet_deployment import DeployedComponent, FleetDeployment, RolloutPolicy
from edge_constructs.greengrass_component import GreengrassComponent
from edge_constructs.model_folder import ModelFolder
from edge_constructs.packaging_job import package_prefix
from edge_constructs.published_artifact import ArtifactPublisher
from stacks.configuration import agent_configuration, inference_configuration
from stacks.environment import Environment, Inference
from stacks.fleet import log_retention


class ReleaseStack(cdk.Stack):
    """All component versions and the deployment that names them.

    They stand in one stack, so that the deployment moves before anything that it named could go.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        environment: Environment,
        sources: Mapping[str, ComponentSource],
        model: ModelFolder,
        detector: ModelFolder | None,
        lock: ComponentLock,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, id_, **kwargs)
        self._environment = environment
        self._lock = lock
        self._sources = sources
        models = [model] if detector is None else [model, detector]
        self._own = {source.name for source in (*sources.values(), *map(model_component, models))}
        self._publisher = ArtifactPublisher(
            self, "Publisher", bucket=environment.artifact_bucket, log_retention=log_retention(environment)
        )
        agent = self._published("Agent", "agent")
        components = [DeployedComponent(component=agent, merge=agent_configuration(environment))]
        ids = ("Model", "ImageClassification")
        components += self._inference(ids, "image_classification", environment.inference, model, agent)
        if detector is not None and environment.detection is not None:
            ids = ("Detector", "ObjectDetection")
            components += self._inference(ids, "object_detection", environment.detection, detector, agent)
        deployment = FleetDeployment(
            self,
            "Deployment",
            name=f"{environment.namespace}-release",
            thing_group=environment.thing_group,
            components=components,
            public_components={
                environment.greengrass.nucleus: environment.greengrass.nucleus_version,
                "aws.greengrass.TokenExchangeService": environment.greengrass.token_exchange_service_version,
            },
            rollout=RolloutPolicy(
                maximum_per_minute=environment.rollout.maximum_per_minute,
                abort_percentage=environment.rollout.abort_percentage,
                abort_minimum=environment.rollout.abort_minimum,
                in_progress_minutes=environment.rollout.in_progress_minutes,
            ),
        )
        cdk.CfnOutput(self, "DeploymentId", value=deployment.resource.attr_deployment_id)

    def _inference(
        self, ids: tuple[str, str], folder: str, settings: Inference, model: ModelFolder, agent: GreengrassComponent
    ) -> list[DeployedComponent]:
        """A model's component and the one that uses it; `ids` are their construct ids."""
        packaged = self._component(ids[0], model_component(model), package_prefix(model))
        user = self._published(ids[1], folder)
        merge = inference_configuration(
            settings, component=user.name, model=model, agent=agent.name, model_component=packaged.name
        )
        return [DeployedComponent(component=packaged), DeployedComponent(component=user, merge=merge)]

    def _published(self, id_: str, folder: str) -> GreengrassComponent:
        source = self._sources[folder]
        prefix = f"components/{self._environment.namespace}.{source.name}/{self._lock.version_of(source)}"
        artifact = self._publisher.publish(f"{id_}Artifact", files=source.files, key=f"{prefix}/{source.artifact}")
        component = self._component(id_, source, prefix)
        component.resource.node.add_dependency(artifact)  # the service reads the artifact when the version is made
        return component

    def _component(self, id_: str, source: ComponentSource, prefix: str) -> GreengrassComponent:
        return GreengrassComponent(
            self,
            id_,
            source=source,
            namespace=self._environment.namespace,
            version=self._lock.version_of(source),
            artifact_base_uri=f"s3://{self._environment.artifact_bucket}/{prefix}",
            own_components=self._own,
        )
