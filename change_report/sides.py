# SPDX-License-Identifier: Apache-2.0
"""The two states that are compared, read by the same rules: BASE as it was committed, today's as it synthesises."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from change_report.errors import BaseError, ReportError
from change_report.repository import SNAPSHOTS
from change_report.statements import Templates
from edge_constructs.component_lock import ComponentLock
from edge_constructs.component_source import ComponentSource, load_component
from edge_package import PackageError
from stacks.application import INPUT_ERRORS
from stacks.components import FOLDERS
from stacks.environment import Environment, EnvironmentFileError, load_environment
from stacks.snapshots import ASSETS, expand, read, synthesise

_PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)

Settings = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Side:
    """One state of the project.

    Attributes:
        root: its files.
        templates: environment to stack to template, as snapshots have them; stacks of no environment are under "".
        assets: construct path to hash; None where the state's snapshots do not hold them.
        versions: component to the version that the lock has for it.
        sources: component to what its artifact and recipe are made of.
        environments: environment to its settings, defaults included.
        written: environment to its settings as its file has them.
        unchecked: environments whose file does not pass today's checks, as a former state's may not: without defaults.
        pins: what the app is built with: package to version.
    """

    root: Path
    templates: Mapping[str, Templates]
    assets: Mapping[str, str] | None
    versions: Mapping[str, str]
    sources: Mapping[str, ComponentSource]
    environments: Mapping[str, Settings]
    written: Mapping[str, Settings]
    unchecked: frozenset[str]
    pins: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Today:
    """Today's side, and the committed snapshots that are not what it synthesises."""

    side: Side
    stale: tuple[str, ...]


def read_base(root: Path) -> Side:
    """BASE, from a folder of its files.

    Raises:
        BaseError: its snapshots or lock cannot be read.
    """
    try:
        return _side(root, read(root / SNAPSHOTS))
    except (ValueError, PackageError) as error:
        raise BaseError(f"BASE cannot be read: {str(error).replace(f'{root}/', '')}") from error


def read_today(root: Path) -> Today:
    """Today's side: the working tree, synthesised.

    Raises:
        ReportError: it does not synthesise; the message is synthesis's own.
    """
    try:
        files = synthesise(root)
        side = _side(root, files)
    except INPUT_ERRORS as error:
        raise ReportError(str(error)) from error
    except RuntimeError as error:  # jsii's, also where cdk-nag found something: the CDK has listed it
        reason = str(error).partition(". A copy")[0]
        raise ReportError(f"the working tree does not synthesise: {reason}: `make synth` shows why") from error
    committed = read(root / SNAPSHOTS)
    stale = [name for name in sorted(files.keys() | committed.keys()) if files.get(name) != committed.get(name)]
    return Today(side=side, stale=tuple(stale))


def _side(root: Path, snapshots: Mapping[str, str]) -> Side:
    paths = sorted((root / "environments").glob("*.toml"))
    written = {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in paths}
    checked = {path.stem: settings for path in paths if (settings := _settings(path)) is not None}
    return Side(
        root=root,
        templates=expand(snapshots),
        assets=json.loads(snapshots[ASSETS]) if ASSETS in snapshots else None,
        versions=_versions(root / "components.lock"),
        sources=_sources(root / "component_src"),
        environments={**written, **checked},
        written=written,
        unchecked=frozenset(written) - frozenset(checked),
        pins=_pins(root),
    )


def pins_of(requirements: str) -> dict[str, str]:
    """Package to version of a requirements file; several versions of one, by platform, stand together."""
    found: dict[str, list[str]] = {}
    for name, version in _PIN.findall(requirements):
        found.setdefault(name.lower(), []).append(version)
    return {name: ", ".join(versions) for name, versions in found.items()}


def _versions(path: Path) -> dict[str, str]:
    ComponentLock.read(path)  # for its checks
    if not path.exists():
        return {}
    histories: dict[str, dict[str, str]] = json.loads(path.read_text(encoding="utf-8"))
    return {name: list(history)[-1] for name, history in histories.items()}


def _sources(folder: Path) -> dict[str, ComponentSource]:
    """The components that this state has: a former one may lack some, or what others share today."""
    found = {}
    for name, common in FOLDERS.items():
        if (folder / name / "recipe.json").is_file():
            shared = [package for package in common if (folder / "common" / package).is_dir()]
            source = load_component(folder / name, common=shared)
            found[source.name] = source
    return found


def _settings(path: Path) -> Settings | None:
    try:
        environment = load_environment(path, variables={})
    except EnvironmentFileError:
        return None
    settings: Settings = TypeAdapter(Environment).dump_python(environment, mode="json")
    return settings


def _pins(root: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    requirements, package = root / "requirements.txt", root / "package.json"
    if requirements.is_file():
        found |= pins_of(requirements.read_text(encoding="utf-8"))
    if package.is_file():
        found |= json.loads(package.read_text(encoding="utf-8")).get("devDependencies", {})
    return found
