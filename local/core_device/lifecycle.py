# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import time
from typing import TYPE_CHECKING

from local.core_device.log import event

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from local.core_device.options import Options
    from local.core_device.plan import Command, Plan
    from local.core_device.processes import ProcessTable

_POLL_SECONDS = 0.02


class State(enum.StrEnum):
    """A component's state, in Greengrass's words."""

    NEW = "NEW"
    INSTALLED = "INSTALLED"
    RUNNING = "RUNNING"
    ERRORED = "ERRORED"
    STOPPING = "STOPPING"
    FINISHED = "FINISHED"
    BROKEN = "BROKEN"


class ComponentLifecycle:
    """Installs and runs one component: restarts it when it crashes, gives it up when it does so too often.

    Attributes:
        reason: why it is BROKEN or ERRORED.
        restarts: how often it was started again after a crash.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        options: Options,
        processes: ProcessTable,
        environment: Callable[[Plan], Mapping[str, str]],
        changed: Callable[[], None],
    ) -> None:
        self.plan = plan
        self.state = State.NEW
        self.reason = ""
        self.restarts = 0
        self._options = options
        self._processes = processes
        self._environment = environment
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._errors: list[float] = []

    @property
    def pid(self) -> int | None:
        """The number of its process, which is also its group's."""
        return self._process.pid if self._process is not None else None

    async def install(self) -> None:
        """Run the install step, in several attempts; the state is INSTALLED or BROKEN afterwards."""
        self.plan.work_directory.mkdir(parents=True, exist_ok=True)
        command = self.plan.install
        for attempt in range(1, self._options.install_attempts + 1):
            if command is None or self._stopping.is_set():
                break
            failure = await self._attempt(command)
            if failure is None:
                break
            self._set(State.ERRORED, f"install {failure} (attempt {attempt} of {self._options.install_attempts})")
        else:
            self._set(State.BROKEN, self.reason)
            return
        self._set(State.INSTALLED)

    async def start(self) -> None:
        """Start the run step; return when its process exists. Afterwards it is looked after in the background."""
        if self.plan.run is None:
            self._set(State.FINISHED)
            return
        self._process = await self._spawn(self.plan.run)
        self._set(State.RUNNING)
        self._task = asyncio.create_task(self._look_after(self.plan.run), name=f"run {self.plan.name}")

    def give_up(self, reason: str) -> None:
        """Make it BROKEN without having run it."""
        self._set(State.BROKEN, self.reason or reason)

    async def stop(self) -> None:
        """End its processes and wait for that."""
        self._stopping.set()
        if self._process is not None:
            self._set(State.STOPPING)
        while self._process is not None or (self._task is not None and not self._task.done()):
            # Once is not enough where it is just being started again.
            if self._process is not None:
                await self._processes.stop(self._process, seconds=self._options.stop_seconds)
                self._process = None
            await asyncio.sleep(_POLL_SECONDS)
        if self._task is not None:
            await self._task

    async def _attempt(self, command: Command) -> str | None:
        """Run a step to its end; give None, or what went wrong."""
        self._process = process = await self._spawn(command)
        try:
            async with asyncio.timeout(command.timeout):
                code = await process.wait()
        except TimeoutError:
            await self._processes.stop(process, seconds=self._options.stop_seconds)
            return f"took longer than its Timeout of {command.timeout} s"
        except asyncio.CancelledError:
            await self._processes.stop(process, seconds=self._options.stop_seconds)
            raise
        finally:
            self._process = None
        await self._processes.stop(process, seconds=self._options.stop_seconds)
        return None if code == 0 else f"ended with exit code {code}"

    async def _look_after(self, command: Command) -> None:
        while True:
            failure = await self._watch(command)
            if self._stopping.is_set():
                return
            if failure is None:
                self._set(State.FINISHED)
                return
            now = time.monotonic()
            window = self._options.error_window_seconds
            self._errors = [moment for moment in self._errors if now - moment < window] + [now]
            if len(self._errors) >= self._options.max_errors:
                self._set(State.BROKEN, f"run {failure}, {len(self._errors)} times within {window:g} s")
                return
            self._set(State.ERRORED, f"run {failure}")
            with contextlib.suppress(TimeoutError):
                delay = self._options.restart_seconds * 2 ** (len(self._errors) - 1)
                await asyncio.wait_for(self._stopping.wait(), delay)
                return
            self.restarts += 1
            self._process = await self._spawn(command)
            self._set(State.RUNNING)

    async def _watch(self, command: Command) -> str | None:
        process = self._process
        assert process is not None  # noqa: S101 # it was started before this is called
        try:
            async with asyncio.timeout(command.timeout):
                await process.wait()
        except TimeoutError:
            await self._processes.stop(process, seconds=self._options.stop_seconds)
            return f"took longer than its Timeout of {command.timeout} s"
        if self._stopping.is_set():  # stop() ends the rest of the group
            return None
        self._process = None
        code = await self._processes.finish(process, seconds=self._options.stop_seconds)
        return None if code == 0 else f"ended with exit code {code}"

    async def _spawn(self, command: Command) -> asyncio.subprocess.Process:
        environment = {**self._environment(self.plan), **command.environment}
        log = self._options.root / "logs" / f"{self.plan.name}.log"
        starting = asyncio.ensure_future(
            self._processes.start(command.script, directory=self.plan.work_directory, environment=environment, log=log)
        )
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:  # half-way through, the process exists already
            await self._processes.stop(await starting, seconds=self._options.stop_seconds)
            raise

    def _set(self, state: State, reason: str = "") -> None:
        self.state, self.reason = state, reason
        bad = state in {State.ERRORED, State.BROKEN}
        event(
            "component_state",
            level=logging.WARNING if bad else logging.INFO,
            component=self.plan.name,
            version=self.plan.version,
            state=state.value,
            reason=reason,
        )
        self._changed()
