# SPDX-License-Identifier: Apache-2.0
"""A Greengrass component as its author writes it: a recipe template and, mostly, files for its artifact."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_constructs.model_folder import ModelFolder
from edge_package.archive import FileContent, read_tree, tree_digest
from edge_package.signature import SIGNATURE_NAME, SIGNATURE_SUFFIX

EXCLUDED = ("__pycache__", "*.pyc", "recipe.json", "requirements.in", ".DS_Store")


@dataclass(frozen=True, kw_only=True)
class ComponentSource:
    """One component, the same for every environment.

    `artifacts` are the names of the files that are published for it. `files` are those of a zip artifact, the first of
    them, and `further` those of the zips after it by their names. A model component has none: package and signature
    come from the packaging job, and `content_digest` is the model digest.

    `variant` names what an environment's settings made another component of the same name of; blank for the plain one.
    It says which settings, not which content: it stays as the component's content moves on.
    """

    template: Mapping[str, Any]
    content_digest: str
    artifacts: tuple[str, ...] = ()
    files: Mapping[str, FileContent] = field(default_factory=dict)
    further: Mapping[str, Mapping[str, FileContent]] = field(default_factory=dict)
    variant: str = ""

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
        template=template, artifacts=(f"{folder.name}.zip",), files=files, content_digest=tree_digest(files)
    )


def model_component(
    model: ModelFolder, *, made: str = "", variant: str = "", architecture: str = ""
) -> ComponentSource:
    """The component that brings a model to devices, as a packaging job with a Greengrass preset made it.

    Args:
        model: its folder.
        made: what was made of the model before it was packaged, in whatever words; blank: it is packaged as it is.
        variant: names the settings that do so.
        architecture: the only one that it may be installed on, in Greengrass's word; blank for all.

    The package ends up directly in the component's work directory (specification §1.12), with its signature beside the
    manifest. It is unpacked beside it first: an interrupted installation is repeated at the next start and never leaves
    half of two packages.
    """
    package = package_file(model.name, model.version)
    signature = package + SIGNATURE_SUFFIX
    script = (
        "set -e; rm -rf .incoming; mkdir .incoming; "
        f"tar -xzf {{artifacts:path}}/{package} -C .incoming; "
        f"cp {{artifacts:path}}/{signature} .incoming/{SIGNATURE_NAME}; "
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
                "Platform": {
                    "os": "linux",
                    **({"architecture": architecture} if architecture else {}),
                    "runtime": "*",
                },
                "Lifecycle": {"install": {"Script": script, "Timeout": 600}},
                "Artifacts": [
                    {"Uri": name, "Unarchive": "NONE", "Permission": {"Read": "OWNER"}} for name in (package, signature)
                ],
            }
        ],
    }
    content = f"{model.digest} {made}" if made else model.digest
    return ComponentSource(template=template, artifacts=(package, signature), content_digest=content, variant=variant)


def with_agent(source: ComponentSource, *, own: str, agent: str, requirement: str, variant: str) -> ComponentSource:
    """A component that depends on another agent than our `own`, and is the same in all else."""
    dependencies = dict(source.template["ComponentDependencies"])
    del dependencies[own]
    dependencies[agent] = {"VersionRequirement": requirement, "DependencyType": "HARD"}
    template = {**source.template, "ComponentDependencies": dependencies}
    return dataclasses.replace(source, template=template, variant=variant)


def package_file(model_name: str, model_version: str) -> str:
    """`<ModelName>-<ModelVersion>.tar.gz`, as Edge Manager named it; a version's spaces would not survive a URI."""
    return f"{model_name}-{model_version}.tar.gz".replace(" ", "_")
