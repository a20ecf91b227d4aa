# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from local.core_device.lifecycle import ComponentLifecycle, State
from local.core_device.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from local.core_device.options import Options
    from local.core_device.processes import ProcessTable

_HEAD_START_SECONDS = 4.0
_POLL_SECONDS = 0.05
_CONCURRENT_INSTALLS = 2


class Runner:
    """The components that run on this device."""

    def __init__(
        self,
        *,
        options: Options,
        processes: ProcessTable,
        environment: Callable[[Plan], Mapping[str, str]],
        changed: Callable[[], None],
    ) -> None:
        self._options = options
        self._processes = processes
        self._environment = environment
        self._on_change = changed
        self._changes = 0
        self.components: dict[str, ComponentLifecycle] = {}

    async def start(self, plans: Sequence[Plan]) -> None:
        """Install components side by side, then start them in the order given.

        A component whose HARD dependency is BROKEN becomes so itself.
        """
        for plan in plans:
            self.components[plan.name] = ComponentLifecycle(
                plan,
                options=self._options,
                processes=self._processes,
                environment=self._environment,
                changed=self._note_change,
            )
        gate = asyncio.Semaphore(_CONCURRENT_INSTALLS)

        async def install(component: ComponentLifecycle) -> None:
            async with gate:
                await component.install()

        async with asyncio.TaskGroup() as group:
            for plan in plans:
                group.create_task(install(self.components[plan.name]))
        for plan in plans:
            component = self.components[plan.name]
            missing = [name for name in plan.hard_dependencies if self._is_down(name)]
            if component.state is State.INSTALLED and not missing:
                await component.start()
            elif missing:
                component.give_up(f"its dependency {', '.join(sorted(missing))} is not up")

    async def stop(self, names: Collection[str]) -> None:
        """Stop components: dependents first, with a head start so that they can say goodbye to their dependencies."""
        stopping = {name: self.components[name] for name in names if name in self.components}
        done = {name: asyncio.Event() for name in stopping}

        async def stop(name: str, component: ComponentLifecycle) -> None:
            dependents = [item for item in stopping if name in stopping[item].plan.hard_dependencies]
            try:
                async with asyncio.timeout(_HEAD_START_SECONDS):
                    for dependent in dependents:
                        await done[dependent].wait()
            except TimeoutError:
                pass
            await component.stop()
            done[name].set()

        async with asyncio.TaskGroup() as group:
            for name, component in stopping.items():
                group.create_task(stop(name, component))
        for name in stopping:
            del self.components[name]
        self._note_change()

    async def settled(self) -> list[str]:
        """Wait until nothing has changed for the settling time and all is up; give the failures, one a component.

        A component that is BROKEN, or cannot start for its dependency, is a failure at once.
        """
        loop = asyncio.get_running_loop()
        seen, since = self._changes, loop.time()
        while True:
            failures = [
                f"component {item.plan.name} {item.plan.version} is {item.state}: {item.reason}"
                for item in self.components.values()
                if item.state is State.BROKEN
            ]
            if failures:
                return failures
            if self._changes != seen:
                seen, since = self._changes, loop.time()
            up = all(item.state in {State.RUNNING, State.FINISHED} for item in self.components.values())
            if up and loop.time() - since >= self._options.settle_seconds:
                return []
            await asyncio.sleep(_POLL_SECONDS)

    def _is_down(self, name: str) -> bool:
        component = self.components.get(name)
        return component is not None and component.state is State.BROKEN

    def _note_change(self) -> None:
        self._changes += 1
        self._on_change()
