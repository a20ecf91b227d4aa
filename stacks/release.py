# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aws_cdk as cdk
from constructs import Construct

from edge_constructs.component_lock import ComponentLock
from edge_constructs.component_source import ComponentSource, model_component
from edge_constructs.fleet_deployment import EVERYTHING, DeployedComponent
from edge_constructs.greengrass_component import GreengrassComponent
from edge_constructs.model_folder import ModelFolder
from edge_constructs.published_artifact import ArtifactPublisher
from stacks.configuration import agent_configuration, inference_configuration
from stacks.deployment import deploy_release, read_trust
from stacks.environment import Environment, EnvironmentFileError, Inference
from stacks.log_retention import log_retention
from stacks.variants import SAGEMAKER_AGENT, carrying_wheels, deployed_inference, deployed_model, model_prefix


class ReleaseStack(cdk.Stack):
    """All component versions and the deployment that names them, to the first group of devices.

    They stand in one stack, so that the deployment moves before anything that it named could go.

    Attributes:
        components: what is deployed, without what is known at deploy time alone.
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
        trust = read_trust(self, environment)
        agent = self._agent()
        components = [
            DeployedComponent(name=environment.greengrass.nucleus, version=environment.greengrass.nucleus_version),
            DeployedComponent(
                name="aws.greengrass.TokenExchangeService",
                version=environment.greengrass.token_exchange_service_version,
            ),
            agent,
        ]
        ids = ("Model", "ImageClassification")
        components += self._inference(ids, "image_classification", environment.inference, model, agent)
        if detector is not None and environment.detection is not None:
            ids = ("Detector", "ObjectDetection")
            components += self._inference(ids, "object_detection", environment.detection, detector, agent)
        self.components = components
        deploy_release(
            self,
            environment,
            components,
            trust=trust,
            thing_group=environment.first_group,
            rollout=environment.rollout.at_once() if environment.canaries else environment.rollout,
        )

    def _inference(
        self, ids: tuple[str, str], folder: str, settings: Inference, model: ModelFolder, agent: DeployedComponent
    ) -> list[DeployedComponent]:
        """A model's component and the one that uses it; `ids` are their construct ids.

        The artifact is the same under either agent; the recipe differs only in the one that it depends on.
        """
        packaged = self._model(ids[0], model)
        source = self._sources[folder]
        _check_dependency(source, model, folder)
        source = deployed_inference(self._environment, source, own_agent=self._sources["agent"].name)
        user = self._published(ids[1], source, self._lock.version_of(source))
        merge = inference_configuration(
            settings, component=user.name, model=model, agent=agent.name, model_component=packaged.name
        )
        return [packaged, DeployedComponent.of(user, merge)]

    def _model(self, id_: str, model: ModelFolder) -> DeployedComponent:
        environment = self._environment
        source = deployed_model(environment, model)
        version = self._lock.version_of(source)
        if environment.edge_manager == "sagemaker":  # the packaging job's preset makes the version
            return DeployedComponent(name=f"{environment.namespace}.{source.name}", version=version)
        return DeployedComponent.of(self._component(id_, source, version, model_prefix(environment, model)))

    def _agent(self) -> DeployedComponent:
        environment = self._environment
        merge = agent_configuration(environment)
        if environment.edge_manager == "sagemaker":
            version = environment.greengrass.edge_manager_version
            return DeployedComponent(name=SAGEMAKER_AGENT, version=version, merge=merge, reset=EVERYTHING)
        source = carrying_wheels(environment, self._sources["agent"])
        return DeployedComponent.of(self._published("Agent", source, self._lock.version_of(source)), merge)

    def _published(self, id_: str, source: ComponentSource, version: str) -> GreengrassComponent:
        prefix = f"components/{self._environment.namespace}.{source.name}/{version}"
        component = self._component(id_, source, version, prefix)
        archives = {source.artifacts[0]: source.files, **source.further}
        for number, (file, files) in enumerate(archives.items()):
            artifact = self._publisher.publish(f"{id_}Artifact{number or ''}", files=files, key=f"{prefix}/{file}")
            component.resource.node.add_dependency(artifact)  # the service reads artifacts when the version is made
        return component

    def _component(self, id_: str, source: ComponentSource, version: str, prefix: str) -> GreengrassComponent:
        return GreengrassComponent(
            self,
            id_,
            source=source,
            namespace=self._environment.namespace,
            version=version,
            artifact_base_uri=f"s3://{self._environment.artifact_bucket}/{prefix}",
            own_components=self._own,
        )


def _check_dependency(source: ComponentSource, model: ModelFolder, folder: str) -> None:
    """A recipe is the same in every environment, so the model that it waits for stands in it."""
    named = [name for name in source.template.get("ComponentDependencies", {}) if ".model." in name]
    if named != [model.component_name]:
        raise EnvironmentFileError(
            f"component_src/{folder}/recipe.json: ComponentDependencies: {model.component_name} is expected, as the "
            f"environment's model is {model.name!r}; found {', '.join(named) or 'no model'}: name that component "
            "there, then run `make lock`"
        )
