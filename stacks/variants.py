# SPDX-License-Identifier: Apache-2.0
"""What an environment's settings make of components: the one place that knows, for the lock as for the stacks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from edge_constructs.compilation_input import compilation_key
from edge_constructs.component_source import ComponentSource, model_component, with_agent
from edge_constructs.model_folder import ModelFolder
from edge_constructs.packaging_job import package_prefix
from edge_constructs.wheels import with_wheels
from stacks.components import ROOT, WHEELS, load_model
from stacks.environment import Environment

SAGEMAKER_AGENT = "aws.greengrass.SageMakerEdgeManager"
_SAGEMAKER = "sagemaker"
_INFERENCE = ("image_classification", "object_detection")


def deployed_model(environment: Environment, model: ModelFolder) -> ComponentSource:
    """The component that brings a model to this environment's devices."""
    architecture = environment.packaging.architecture
    words = [
        _SAGEMAKER if environment.edge_manager == "sagemaker" else "",
        environment.compilation.name if environment.compilation else "",
        architecture,
        _encrypted_with(environment),
    ]
    variant = "-".join(word for word in words if word)
    return model_component(model, made=made_of(environment, model), variant=variant, architecture=architecture)


def deployed_inference(environment: Environment, source: ComponentSource, *, own_agent: str) -> ComponentSource:
    """An inference component of this environment: the same artifact under either agent, and another recipe."""
    if environment.edge_manager != "open":
        requirement = ">=1.0.0 <2.0.0"
        source = with_agent(source, own=own_agent, agent=SAGEMAKER_AGENT, requirement=requirement, variant=_SAGEMAKER)
    return carrying_wheels(environment, source)


def carrying_wheels(environment: Environment, source: ComponentSource) -> ComponentSource:
    """A component with an artifact of its own, with the wheels that this environment's devices install.

    Raises:
        WheelsError: they were not fetched, or are others than the lock file's.
    """
    targets = environment.artifacts.targets
    if targets is None:
        return source
    return with_wheels(source, targets, folder=WHEELS / targets.variant / Path(source.artifacts[0]).stem)


def made_of(environment: Environment, model: ModelFolder) -> str:
    """What this environment makes of a model before a device gets it; blank: nothing.

    Equal settings of an equal model give equal words; they are a folder's name as well.
    """
    settings = environment.compilation
    words = [
        _SAGEMAKER if environment.edge_manager == "sagemaker" else "",
        compilation_key(model, settings) if settings else "",
        _encrypted_with(environment),
    ]
    return "-".join(word for word in words if word)


def _encrypted_with(environment: Environment) -> str:
    """Stands for the key that encrypts packages; blank without one.

    A package is written once and stays under the key that it was written with, which its readers lose with the setting.
    """
    key = environment.packaging.kms_key_id
    return f"kms{hashlib.sha256(key.encode()).hexdigest()[:8]}" if key else ""


def model_prefix(environment: Environment, model: ModelFolder) -> str:
    """The folder of the artifact bucket that holds the model's package in this environment."""
    return package_prefix(model, made_of(environment, model))


def environment_sources(
    environment: Environment, sources: Mapping[str, ComponentSource], root: Path = ROOT
) -> list[ComponentSource]:
    """Every component that this environment's settings make.

    Args:
        environment: the environment.
        sources: the components with an artifact of their own, by folder.
        root: where models lie.
    """
    used = [environment.inference, *([environment.detection] if environment.detection else [])]
    own = sources["agent"].name
    inference = [deployed_inference(environment, sources[folder], own_agent=own) for folder in _INFERENCE]
    agent = [carrying_wheels(environment, sources["agent"])] if environment.edge_manager == "open" else []
    return [*agent, *inference, *(deployed_model(environment, load_model(one.model, root=root)) for one in used)]
