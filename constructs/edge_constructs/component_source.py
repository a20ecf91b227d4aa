# SPDX-License-Identifier: Apache-2.0
"""A Greengrass component as its author writes it: a recipe template and, mostly, files for its artifact."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_constructs.model_folder import ModelFolder
from edge_package.archive import FileContent, read_tree, tree_digest

EXCLUDED = ("__pycache__", "*.pyc", "recipe.json", "requirements.in", ".DS_Store")


@dataclass(frozen=True, kw_only=True)
class ComponentSource:
    """One component, the same for every environment.

    `artifact` is the file name of what is published for it, blank for nothing. `files` are those of a zip artifact; a
    model component has none: its package comes from the packaging job, and `content_digest` is the model digest.
    """

    template: Mapping[str, Any]
    content_digest: str
    artifact: str = ""
    files: Mapping[str, FileContent] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The component's name before the environment's namespace."""
        return str(self.template["ComponentName"])

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256, lower-case hex, over recipe template and content: what `components.lock` holds a version against."""
        recipe = json.dumps(self.template, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(f"{recipe}\n{self.content_digest}".encode()).hexdigest()


def load_component(folder: Path, *, common: Sequence[str]) -> ComponentSource:
    """Read a component's folder: `recipe.json`, and everything else as its artifact, with packages of `common` added.

    Raises:
        ValueError: the recipe template is missing or is no JSON object.
        PackageError: a folder is missing or holds a link.
    """
    path = folder / "recipe.json"
    try:
        template = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: a JSON recipe template is expected: {error}") from error
    if not isinstance(template, dict) or not isinstance(template.get("ComponentName"), str):
        raise ValueError(f"{path}: an object with ComponentName is expected")  # noqa: TRY004 -- one error for bad files
    files = read_tree(folder, exclude=EXCLUDED)
    for package in common:
        tree = read_tree(folder.parent / "common" / package, exclude=EXCLUDED)
        files.update({f"{package}/{name}": content for name, content in tree.items()})
    return ComponentSource(
        template=template, artifact=f"{folder.name}.zip", files=files, content_digest=tree_digest(files)
    )


def model_component(model: ModelFolder) -> ComponentSource:
    """The component that brings a model to devices, as a packaging job with a Greengrass preset made it.

    The package ends up directly in the component's work directory (specification §1.12). It is unpacked beside it
    first: an interrupted installation is repeated at the next start and never leaves half of two packages.
    """
    package = package_file(model)
    script = (
        "set -e; rm -rf .incoming; mkdir .incoming; "
        f"tar -xzf {{artifacts:path}}/{package} -C .incoming; "
        'for old in ./*; do rm -rf "$old"; done; '
        "mv .incoming/* .; rmdir .incoming"
    )
    template = {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": model.component_name,
        "ComponentDescription": model.description,
        "ComponentPublisher": "Edge Manager",
        "Manifests": [
            {
                "Platform": {"os": "linux", "runtime": "*"},
                "Lifecycle": {"install": {"Script": script, "Timeout": 600}},
                "Artifacts": [{"Uri": package, "Unarchive": "NONE", "Permission": {"Read": "OWNER"}}],
            }
        ],
    }
    return ComponentSource(template=template, artifact=package, content_digest=model.manifest.digest)


def package_file(model: ModelFolder) -> str:
    """`<ModelName>-<ModelVersion>.tar.gz`, as Edge Manager named it; a version's spaces would not survive a URI."""
    return f"{model.name}-{model.version}.tar.gz".replace(" ", "_")
