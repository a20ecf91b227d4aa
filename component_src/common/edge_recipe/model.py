# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Platform:
    """The devices that a manifest is for; ``*`` matches every value, and its absence."""

    os: str
    runtime: str
    architecture: str = "*"
    architecture_detail: str = "*"

    def matches(self, *, os: str, architecture: str, architecture_detail: str = "") -> bool:
        """Tell whether a device of this kind takes the manifest."""
        pairs = (
            (self.os, os),
            (self.architecture, architecture),
            (self.architecture_detail, architecture_detail),
        )
        return all(wanted in {"*", actual} for wanted, actual in pairs)


@dataclass(frozen=True)
class Step:
    """One phase of a component's life: a shell script and how to run it.

    Attributes:
        timeout: seconds until the step is given up; None: the nucleus's default (``run`` has none).
        setenv: variables of this step, over those of the whole lifecycle.
    """

    script: str
    requires_privilege: bool = False
    timeout: int | None = None
    setenv: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Artifact:
    """A file that the nucleus downloads before it installs the component.

    Attributes:
        unarchive: ``NONE`` or ``ZIP``.
        read: ``NONE``, ``OWNER`` or ``ALL``.
        execute: ``NONE``, ``OWNER`` or ``ALL``.
        digest: base64 of the SHA-256 of its bytes; the service adds it when the version is created.
    """

    uri: str
    unarchive: str = "NONE"
    read: str = "OWNER"
    execute: str = "NONE"
    digest: str | None = None

    @property
    def file_name(self) -> str:
        """The last part of the URI: the file's name on the device."""
        return self.uri.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Dependency:
    """Another component that has to be there: HARD ones start first and fail the deployment with theirs."""

    name: str
    requirement: str
    hard: bool = True


@dataclass(frozen=True)
class Manifest:
    """What one kind of device runs."""

    platform: Platform
    name: str = ""
    steps: Mapping[str, Step] = field(default_factory=dict)
    artifacts: tuple[Artifact, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """A component version as both Greengrass nuclei understand it; made by :func:`edge_recipe.parse`."""

    name: str
    version: str
    manifests: tuple[Manifest, ...]
    dependencies: tuple[Dependency, ...] = ()
    default_configuration: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""
    publisher: str = ""

    @staticmethod
    def parse(recipe: str | bytes | Mapping[str, Any], *, source: str) -> Recipe:
        """Read and check a recipe; see :func:`edge_recipe.parsing.parse`."""
        # Here and not above, because the parser builds these classes.
        from edge_recipe.parsing import parse  # noqa: PLC0415

        return parse(recipe, source=source)

    def manifest_for(self, *, os: str, architecture: str) -> Manifest | None:
        """Give the first manifest that such a device takes, as both nuclei choose it."""
        for manifest in self.manifests:
            if manifest.platform.matches(os=os, architecture=architecture):
                return manifest
        return None
