# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from local.core_device.ipc_server import IpcError, Stream
from local.core_device.log import event

if TYPE_CHECKING:
    from collections.abc import Mapping


class ComponentUpdates:
    """What the classic nucleus has and lite has not: components are asked before an update, and may put it off.

    As there, every component that subscribed is asked, whether or not it changes itself. The longest deferral counts;
    after it all are asked again. Silence until the deployment's time-out is consent, and there is no bound on how often
    a component may say no.
    """

    def __init__(self) -> None:
        self._listeners: list[Stream] = []
        self._answers: dict[str, asyncio.Future[float]] = {}

    def subscribe(self, _request: Mapping[str, Any], stream: Stream) -> Mapping[str, Any]:
        """SubscribeToComponentUpdates."""
        self._listeners.append(stream)
        stream.on_close(lambda: self._listeners.remove(stream))
        return {}

    def defer(self, request: Mapping[str, Any], stream: Stream) -> Mapping[str, Any]:
        """DeferComponentUpdate: a component's answer, which is "now" where it names no time.

        Raises:
            IpcError: it is not subscribed, was not asked or has answered already, or the request is wrong.
        """
        deployment, milliseconds = request.get("deploymentId"), request.get("recheckAfterMs") or 0
        if not isinstance(deployment, str) or not deployment:
            raise IpcError("InvalidArgumentsError", f"deploymentId: expected a text, found {deployment!r}")
        if not isinstance(milliseconds, int) or milliseconds < 0:
            raise IpcError("InvalidArgumentsError", f"recheckAfterMs: expected a number from 0, found {milliseconds!r}")
        component = stream.component
        if all(listener.component != component for listener in self._listeners):
            raise IpcError("InvalidArgumentsError", f"component {component} is not subscribed to component updates")
        answer = self._answers.pop(component, None)
        if answer is None or answer.done():
            raise IpcError("ServiceError", "the time to answer is over, or nothing was asked")
        event("update_answered", component=component, deployment=deployment, milliseconds=milliseconds)
        answer.set_result(milliseconds / 1000)
        return {}

    async def wait_for_components(self, deployment: str, *, seconds: float) -> None:
        """Ask all components until none of them puts the update off any more.

        Args:
            deployment: its id.
            seconds: that a component has to answer.
        """
        while delay := await self._ask(deployment, seconds):  # noqa: ASYNC110 # the components named the time
            await asyncio.sleep(delay)

    def tell_done(self, deployment: str) -> None:
        """Tell the components that are left that the update is over."""
        for stream in tuple(self._listeners):
            stream.send("ComponentUpdatePolicyEvents", {"postUpdateEvent": {"deploymentId": deployment}})

    async def _ask(self, deployment: str, seconds: float) -> float:
        question = {"preUpdateEvent": {"deploymentId": deployment, "isGgcRestarting": False}}
        loop = asyncio.get_running_loop()
        self._answers = {stream.component: loop.create_future() for stream in self._listeners}
        asked = dict(self._answers)
        for stream in tuple(self._listeners):
            stream.send("ComponentUpdatePolicyEvents", question)
        if not asked:
            return 0.0
        done, silent = await asyncio.wait(asked.values(), timeout=seconds)
        self._answers = {}
        if silent:
            names = sorted(name for name, answer in asked.items() if answer in silent)
            event("update_not_answered", level=logging.WARNING, components=names, seconds=seconds)
        return max((answer.result() for answer in done), default=0.0)
