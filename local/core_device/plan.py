# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge_recipe import VariableValues, interpolate
from local.core_device.resolution import TOKEN_EXCHANGE_SERVICE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edge_recipe import Manifest, Recipe
    from local.core_device.options import Options
    from local.core_device.store import PackageStore

# What a component inherits of this process's environment: what a device's image would set for its user.
_INHERITED = frozenset(
    {"PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"}
    | {"CURL_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"}
)
_INHERITED_PREFIXES = ("PIP_", "AWS_ENDPOINT_URL")


@dataclass(frozen=True)
class Command:
    """A step of a component, ready to run.

    Attributes:
        timeout: seconds, None for none.
        environment: the recipe's Setenv.
    """

    script: str
    environment: Mapping[str, str]
    timeout: float | None


@dataclass(frozen=True)
class Plan:
    """How this device runs a component version with its configuration."""

    name: str
    version: str
    work_directory: Path
    needs_credentials: bool
    hard_dependencies: frozenset[str]
    install: Command | None
    run: Command | None


def make_plan(
    recipe: Recipe,
    manifest: Manifest,
    *,
    configuration: Mapping[str, Any],
    options: Options,
    packages: PackageStore,
) -> Plan:
    """Put the values of this device into a component's scripts.

    Raises:
        edge_recipe.RecipeError: a script asks for a value that is not there.
    """
    work_directory = options.root / "work" / recipe.name
    values = VariableValues(
        artifacts_path=str(packages.artifacts(recipe.name, recipe.version)),
        artifacts_decompressed_path=str(packages.unarchived(recipe.name, recipe.version)),
        work_path=str(work_directory),
        thing_name=options.thing_name,
        root_path=str(options.root),
        configuration=configuration,
    )
    source = f"component {recipe.name} {recipe.version}"

    def command(phase: str) -> Command | None:
        step = manifest.steps.get(phase)
        if step is None:
            return None
        environment = {
            key: interpolate(text, values, source=source, place=f"{phase}.Setenv.{key}")
            for key, text in step.setenv.items()
        }
        default = options.install_timeout_seconds if phase == "install" else None
        return Command(
            script=interpolate(step.script, values, source=source, place=phase),
            environment=environment,
            timeout=step.timeout if step.timeout is not None else default,
        )

    dependencies = recipe.dependencies
    return Plan(
        name=recipe.name,
        version=recipe.version,
        work_directory=work_directory,
        needs_credentials=any(dependency.name == TOKEN_EXCHANGE_SERVICE for dependency in dependencies),
        hard_dependencies=frozenset(dependency.name for dependency in dependencies if dependency.hard),
        install=command("install"),
        run=command("run"),
    )


def inherited_environment() -> dict[str, str]:
    """What every component's process gets of this machine's environment.

    A profile, an instance's role or another key of the machine must not stand in for the device role.
    """
    environment = {
        key: value
        for key, value in os.environ.items()
        if key.upper() in _INHERITED or key.startswith(_INHERITED_PREFIXES)
    }
    environment.setdefault("PATH", os.defpath)
    environment.setdefault("LANG", "C.UTF-8")
    return environment | {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
