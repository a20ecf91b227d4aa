# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edge_recipe import Recipe, RecipeError
from local.core_device.cloud import CloudRefusedError
from local.core_device.configuration import deployed
from local.core_device.files import read_json, write_json
from local.core_device.log import event
from local.core_device.plan import Plan, make_plan
from local.core_device.resolution import BUILT_IN, NUCLEUS_NAMES, Component, ResolutionError, resolve
from local.core_device.store import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from local.core_device.cloud import Cloud, EffectiveDeployment
    from local.core_device.configuration import Configuration, ConfigurationStore
    from local.core_device.operations import GreengrassService
    from local.core_device.options import Options
    from local.core_device.runner import Runner
    from local.core_device.store import PackageStore
    from local.core_device.tes import TokenExchangeService
    from local.core_device.updates import ComponentUpdates

_MAX_REASON = 1000
_REFUSALS = (ResolutionError, RecipeError, ArtifactError, CloudRefusedError)


class UnsuitableError(ResolutionError):
    """A component has no manifest for this kind of device."""


@dataclass(frozen=True)
class Outcome:
    """How a deployment ended: `status` as the job has it, `detail` in the nucleus's words."""

    status: str
    detail: str
    reason: str = ""

    def as_details(self) -> dict[str, str]:
        """Give the job's status details."""
        details = {"detailed-deployment-status": self.detail}
        return {**details, "deployment-failure-cause": self.reason[:_MAX_REASON]} if self.reason else details


@dataclass
class Current:
    """What the device runs, as it stands on disk.

    Attributes:
        targets: target ARN -> component -> version, of the last deployment of each.
        components: in the order of starting.
        handled: deployment id -> status.
    """

    targets: dict[str, dict[str, str]] = field(default_factory=dict)
    components: list[dict[str, Any]] = field(default_factory=list)
    handled: dict[str, str] = field(default_factory=dict)

    def version_of(self, names: Collection[str]) -> str | None:
        """Give the version of the first of these components that is there."""
        return next((str(item["version"]) for item in self.components if item["name"] in names), None)


@dataclass(frozen=True)
class _Prepared:
    targets: Mapping[str, Mapping[str, str]]
    components: Sequence[Component]
    plans: Sequence[Plan]
    configurations: Mapping[str, Configuration]
    rollback: bool
    notify_seconds: float | None


class DeploymentEngine:
    """Brings the device from one set of components to the next, and back if that fails."""

    def __init__(
        self,
        *,
        options: Options,
        cloud: Cloud,
        runner: Runner,
        configuration: ConfigurationStore,
        packages: PackageStore,
        credentials: TokenExchangeService,
        service: GreengrassService,
        updates: ComponentUpdates | None,
    ) -> None:
        self._options = options
        self._cloud = cloud
        self._runner = runner
        self._configuration = configuration
        self._packages = packages
        self._credentials = credentials
        self._service = service
        self._updates = updates
        self._path = options.root / "deployments" / "current.json"
        self.current = Current(**read_json(self._path, default={}))

    @property
    def nucleus_version(self) -> str:
        """The version of the nucleus that the deployment pins, else the emulated one's."""
        return self.current.version_of(NUCLEUS_NAMES) or BUILT_IN[NUCLEUS_NAMES[1]]

    async def resume(self) -> None:
        """Start what the last deployment left, without the cloud."""
        self._configuration.roll_back()
        plans = []
        for item in self.current.components:
            if item["name"] in BUILT_IN:
                continue
            try:
                recipe = Recipe.parse(
                    self._packages.load_recipe(item["name"], item["version"]), source=f"component {item['name']}"
                )
                plans.append(self._plan(recipe, self._configuration.get(recipe.name) or {}))
            except (OSError, *_REFUSALS) as error:
                event("component_lost", level=logging.ERROR, component=item["name"], reason=str(error))
        await self._runner.start(plans)

    async def apply(self, effective: EffectiveDeployment, *, targets: Collection[str]) -> Outcome:
        """Carry out a deployment.

        Args:
            effective: which one.
            targets: ARNs of everything that deploys to this device now; what others had deployed goes.

        Raises:
            CloudUnreachableError: before anything was changed; try again.
        """
        try:
            prepared = await asyncio.to_thread(self._prepare, effective.id, targets)
        except _REFUSALS as error:
            return Outcome("FAILED", "FAILED_NO_STATE_CHANGE", str(error))
        if self._updates is None:  # as lite, which asks nobody
            return await self._carry_out(prepared)
        if prepared.notify_seconds is not None:
            await self._updates.wait_for_components(effective.id, seconds=prepared.notify_seconds)
        try:
            return await self._carry_out(prepared)
        finally:
            self._updates.tell_done(effective.id)

    async def _carry_out(self, prepared: _Prepared) -> Outcome:
        before = [component.plan for component in self._runner.components.values()]
        old = {plan.name: self._configuration.get(plan.name) or {} for plan in before}
        former, self.current = self.current, _next(self.current, prepared)
        self._configuration.begin()
        failures = await self._switch(prepared.plans, prepared.configurations)
        if failures and prepared.rollback:
            self.current = former
            again = await self._switch(before, old)
            self._configuration.commit()
            detail = "FAILED_UNABLE_TO_ROLLBACK" if again else "FAILED_ROLLBACK_COMPLETE"
            return Outcome("FAILED", detail, "; ".join([*failures, *again]))
        self._configuration.commit()
        self._save()
        self._packages.keep_only({(plan.name, plan.version) for plan in prepared.plans})
        if failures:
            return Outcome("FAILED", "FAILED_ROLLBACK_NOT_REQUESTED", "; ".join(failures))
        return Outcome("SUCCEEDED", "SUCCESSFUL")

    def remember(self, deployment_id: str, status: str) -> None:
        """Note that a deployment has ended, so that it is not carried out again."""
        self.current.handled[deployment_id] = status
        self._save()

    def forget_other_than(self, deployment_ids: Collection[str]) -> None:
        """Drop the notes on deployments that no longer reach the device."""
        if set(self.current.handled) - set(deployment_ids):
            self.current.handled = {
                id_: self.current.handled[id_] for id_ in self.current.handled if id_ in deployment_ids
            }
            self._save()

    def _prepare(self, deployment_id: str, reaching: Collection[str]) -> _Prepared:
        deployment = self._cloud.deployment(deployment_id)
        targets: dict[str, Mapping[str, str]] = {
            arn: roots for arn, roots in self.current.targets.items() if arn in reaching
        }
        targets[deployment.target] = {name: item.version for name, item in deployment.components.items()}
        catalogue = _CloudCatalogue(self._cloud)
        installed = {str(item["name"]): str(item["version"]) for item in self.current.components}
        components = resolve(targets, catalogue=catalogue, installed=installed)
        plans, configurations = [], {}
        for component in components:
            recipe = component.recipe
            if recipe is None:
                continue
            request = deployment.components.get(component.name)
            configuration = deployed(
                self._configuration.get(recipe.name),
                defaults=recipe.default_configuration,
                reset_pointers=request.reset if request else (),
                merge=request.merge if request else {},
            )
            plans.append(self._plan(recipe, configuration))
            configurations[recipe.name] = configuration
            manifest = self._manifest(recipe)
            self._packages.fetch(
                recipe.name,
                recipe.version,
                manifest.artifacts,
                lambda uri, target: self._cloud.download(uri, target, self._credentials.credentials()),
            )
            self._packages.save_recipe(recipe.name, recipe.version, catalogue.texts[recipe.name, recipe.version])
        return _Prepared(
            targets=targets,
            components=components,
            plans=plans,
            configurations=configurations,
            rollback=deployment.rollback,
            notify_seconds=deployment.notify_seconds if deployment.notify else None,
        )

    def _manifest(self, recipe: Recipe) -> Any:
        os, architecture = self._options.operating_system, self._options.architecture
        manifest = recipe.manifest_for(os=os, architecture=architecture)
        if manifest is None:
            raise UnsuitableError(
                f"component {recipe.name} {recipe.version} has no manifest for os {os}, architecture {architecture}"
            )
        return manifest

    def _plan(self, recipe: Recipe, configuration: Configuration) -> Plan:
        return make_plan(
            recipe,
            self._manifest(recipe),
            configuration=configuration,
            options=self._options,
            packages=self._packages,
        )

    async def _switch(self, plans: Sequence[Plan], configurations: Mapping[str, Configuration]) -> list[str]:
        """Stop what goes or changes, set the configurations, start what comes or changed; give the failures.

        A component whose configuration alone changed stays up if it follows its configuration.
        """
        running = self._runner.components
        updated = {name for name, value in configurations.items() if self._configuration.get(name) != value}
        start = [
            plan
            for plan in plans
            if plan.name not in running
            or running[plan.name].plan != plan
            or running[plan.name].state in {"BROKEN", "ERRORED"}
            or (plan.name in updated and not self._service.is_watched(plan.name))
        ]
        starting = {plan.name for plan in start}
        gone = set(running) - {plan.name for plan in plans}
        await self._runner.stop(gone | (starting & set(running)))
        for name in gone:
            self._configuration.remove(name)
        for name in updated:
            old = self._configuration.get(name) or {}
            self._configuration.set(name, configurations[name])
            for key in old.keys() | configurations[name].keys():
                if old.get(key) != configurations[name].get(key):
                    self._service.configuration_changed(name, [key])
        await self._runner.start(start)
        return await self._runner.settled()

    def _save(self) -> None:
        write_json(self._path, vars(self.current))


def _next(current: Current, prepared: _Prepared) -> Current:
    return Current(
        targets={arn: dict(roots) for arn, roots in prepared.targets.items()},
        components=[
            {"name": item.name, "version": item.version, "isRoot": item.is_root} for item in prepared.components
        ],
        handled=current.handled,
    )


class _CloudCatalogue:
    """The cloud's component versions, each fetched and checked once in a deployment."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._recipes: dict[tuple[str, str], Recipe] = {}
        self.texts: dict[tuple[str, str], bytes] = {}

    def versions(self, name: str) -> Sequence[str]:
        return self._cloud.component_versions(name)

    def recipe(self, name: str, version: str) -> Recipe:
        if (name, version) not in self._recipes:
            text = self._cloud.recipe(name, version)
            self._recipes[name, version] = Recipe.parse(text, source=f"component {name} {version}")
            self.texts[name, version] = text
        return self._recipes[name, version]
