# SPDX-License-Identifier: Apache-2.0
"""The components that this project builds, and where they lie."""

from __future__ import annotations

from pathlib import Path

from edge_constructs.component_source import ComponentSource, load_component, model_component
from edge_constructs.model_folder import ModelFolder, ModelFolderError, load_model_folder

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "components.lock"
WHEELS = ROOT / "build/wheels"  # fetched by `make wheels`

# Component folder -> the packages of component_src/common that go into its artifact.
FOLDERS = {
    "agent": ("edge_contract", "edge_install", "edge_package"),
    "image_classification": ("edge_contract", "edge_inference", "edge_install"),
    "object_detection": ("edge_contract", "edge_inference", "edge_install"),
}


def load_sources(root: Path = ROOT) -> dict[str, ComponentSource]:
    """The components with an artifact of their own, by folder; `root` is the project or another state of it."""
    sources = root / "component_src"
    return {folder: load_component(sources / folder, common=common) for folder, common in FOLDERS.items()}


def load_model(name: str, *, task: str | None = None, root: Path = ROOT) -> ModelFolder:
    """A model of `models/` by its folder's name.

    Raises:
        ModelFolderError: there is none, it is wrong, or it is for another task than `task`.
    """
    model = load_model_folder(root / "models" / name)
    if task not in {None, model.task}:
        raise ModelFolderError(
            f'{model.folder / "model.toml"}: task: expected "{task}", because the environment gives this model to that '
            f'component, got "{model.task}"; name another model in the environment, or correct task'
        )
    return model


def all_sources(root: Path = ROOT) -> list[ComponentSource]:
    """Every component that the lock has a version for: those with artifacts, and one for each model."""
    models = sorted(path.parent.name for path in (root / "models").glob("*/model.toml"))
    return [*load_sources(root).values(), *(model_component(load_model(name, root=root)) for name in models)]
