# SPDX-License-Identifier: Apache-2.0
"""Wheels that a component carries, so that it installs on a device without a package index.

They are fetched before synthesis, by `make wheels`, each held against the component's lock file; an index beside them
says what they were fetched for. Here they are only read, and held against lock file and index again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_constructs.component_source import ComponentSource
from edge_package.archive import FileContent, tree_digest

INDEX = "wheels.json"
COMMAND = "make wheels"
# Greengrass refuses larger artifacts (its quotas); all artifacts of one component version count together.
GREENGRASS_BYTES = 2_000_000_000


class WheelsError(ValueError):
    """The wheels are missing or not those of the lock file; the message names the command that fetches them."""


@dataclass(frozen=True, kw_only=True)
class WheelTargets:
    """Which devices wheels are for.

    Attributes:
        architectures: in Greengrass's words.
        pythons: the `python3` of the devices, as `3.11`.
    """

    architectures: tuple[str, ...]
    pythons: tuple[str, ...]

    @property
    def variant(self) -> str:
        """Names these settings in the lock of component versions."""
        return "-".join(["wheels", *sorted(self.architectures), *(f"py{version}" for version in sorted(self.pythons))])


def index_of(requirements: bytes, *, pythons: Sequence[str], wheels: Mapping[str, str]) -> bytes:
    """The index of a folder of wheels.

    Args:
        requirements: the lock file's content.
        pythons: the Python versions that they are for.
        wheels: SHA-256, lower-case hex, by file name.
    """
    document = {
        "pythons": sorted(pythons),
        "requirements_sha256": hashlib.sha256(requirements).hexdigest(),
        "wheels": dict(sorted(wheels.items())),
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def read_wheels(folder: Path, requirements: bytes, *, pythons: Sequence[str]) -> dict[str, FileContent]:
    """Read a folder of wheels, every one held against its index and against the lock file.

    Args:
        folder: of one component and architecture, as `make wheels` leaves it.
        requirements: the component's lock file.
        pythons: the Python versions that are expected.

    Raises:
        WheelsError: there are none, they were fetched for another lock file or other versions, or one is missing, not
            listed, or has other bytes.
    """
    try:
        index = (folder / INDEX).read_bytes()
        wheels: dict[str, str] = json.loads(index)["wheels"]
    except (OSError, ValueError, KeyError, TypeError):
        raise WheelsError(f"{folder}: expected the wheels of the component, got none: run `{COMMAND}`") from None
    if index != index_of(requirements, pythons=pythons, wheels=wheels):
        raise WheelsError(
            f"{folder}: expected wheels of this lock file for Python {', '.join(pythons)}, got some that were fetched "
            f"for another lock file or other versions: run `{COMMAND}`"
        )
    found = {path.name: path for path in folder.iterdir() if path.name != INDEX}
    if found.keys() != wheels.keys():
        odd = ", ".join(sorted(found.keys() ^ wheels.keys()))
        raise WheelsError(f"{folder}: expected exactly the wheels of its index, but {odd} differs: run `{COMMAND}`")
    contents = {}
    for name, expected in sorted(wheels.items()):
        data = found[name].read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        if f"--hash=sha256:{expected}".encode() not in requirements:
            raise WheelsError(
                f"{found[name]}: expected a wheel that the lock file names, got one with SHA-256 {expected}, which is "
                f"not there: run `{COMMAND}`"
            )
        if sha256 != expected:
            raise WheelsError(
                f"{found[name]}: expected a wheel of the lock file with SHA-256 {expected}, got {sha256}: "
                f"run `{COMMAND}`"
            )
        contents[name] = FileContent(data)
    return contents


def with_wheels(source: ComponentSource, targets: WheelTargets, *, folder: Path) -> ComponentSource:
    """A component that carries its wheels: one further zip, and one manifest of the recipe, for each architecture.

    Another version stands for it, since recipe and artifacts are others; the zip of its own files is the same.

    Args:
        source: the component, with one manifest, and an install step that ends in the arguments of `edge_install`.
        targets: the devices.
        folder: holds a folder of wheels for each architecture.

    Raises:
        WheelsError: wheels are missing or differ, or are more than an artifact may hold.
    """
    requirements = source.files["requirements.txt"].data
    (manifest,) = source.template["Manifests"]
    (own,) = source.artifacts
    archives: dict[str, Mapping[str, FileContent]] = {}
    manifests = []
    for architecture in targets.architectures:
        stem = f"{Path(own).stem}-wheels-{architecture}"
        archives[f"{stem}.zip"] = read_wheels(folder / architecture, requirements, pythons=targets.pythons)
        manifests.append(_manifest(manifest, architecture, stem))
        _check_size(source, archives[f"{stem}.zip"], architecture)
    digests = [f"{name} {tree_digest(files)}" for name, files in archives.items()]
    return dataclasses.replace(
        source,
        template={**source.template, "Manifests": manifests},
        artifacts=(own, *archives),
        further=archives,
        content_digest=hashlib.sha256("\n".join([source.content_digest, *digests]).encode()).hexdigest(),
        variant="-".join(word for word in (source.variant, targets.variant) if word),
    )


def _manifest(manifest: Mapping[str, Any], architecture: str, stem: str) -> dict[str, Any]:
    install = manifest["Lifecycle"]["install"]
    script = f"{install['Script']} --wheels {{artifacts:decompressedPath}}/{stem}"
    artifact = {"Uri": f"{stem}.zip", "Unarchive": "ZIP", "Permission": {"Read": "OWNER", "Execute": "NONE"}}
    return {
        **manifest,
        "Platform": {**manifest["Platform"], "architecture": architecture},
        "Lifecycle": {**manifest["Lifecycle"], "install": {**install, "Script": script}},
        "Artifacts": [*({**one} for one in manifest["Artifacts"]), artifact],
    }


def _check_size(source: ComponentSource, wheels: Mapping[str, FileContent], architecture: str) -> None:
    size = sum(len(file.data) for files in (source.files, wheels) for file in files.values())
    if size > GREENGRASS_BYTES:
        raise WheelsError(
            f"{source.name}: wheels for {architecture}: expected at most {GREENGRASS_BYTES} bytes of artifacts, as "
            f"Greengrass takes, got {size}: name fewer Python versions in artifacts.pythons"
        )
