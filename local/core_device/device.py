# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
from typing import IO, TYPE_CHECKING, Any

from local.core_device.cloud import CloudRefusedError, CloudUnreachableError
from local.core_device.configuration import ConfigurationStore
from local.core_device.deployment import DeploymentEngine, Outcome
from local.core_device.files import write_json
from local.core_device.iot_core import IotCore
from local.core_device.ipc_server import IpcServer
from local.core_device.log import event
from local.core_device.operations import GreengrassService
from local.core_device.plan import inherited_environment
from local.core_device.processes import ProcessTable
from local.core_device.report import Reporter
from local.core_device.resolution import BUILT_IN, NUCLEUS_NAMES
from local.core_device.runner import Runner
from local.core_device.store import PackageStore
from local.core_device.tes import TokenExchangeService
from local.core_device.updates import ComponentUpdates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from local.core_device.cloud import Cloud, EffectiveDeployment
    from local.core_device.options import Options
    from local.core_device.plan import Plan

_OPEN = frozenset({"QUEUED", "IN_PROGRESS"})
_MAX_OFFLINE_WAIT = 10.0


class RootInUseError(Exception):
    """Another core device runs on the same root path."""


class CoreDevice:
    """A core device: runs until it is told to stop, and leaves no process behind.

    ``<root>/state.json`` always tells what it is doing.
    """

    def __init__(self, options: Options, cloud: Cloud) -> None:
        self._options = options
        self._cloud = cloud
        options.root.mkdir(parents=True, exist_ok=True)
        configuration = ConfigurationStore(options.root / "config")
        self._iot_core = IotCore(cloud, policy_name=options.iot_policy, retry_seconds=options.poll_seconds)
        updates = ComponentUpdates() if options.component_updates else None
        self._service = GreengrassService(configuration, self._iot_core, updates=updates)
        self._ipc = IpcServer(options.root, self._service)
        self._credentials = TokenExchangeService(cloud, options.role_alias)
        self._reporter = Reporter(self._iot_core, options)
        self._processes = ProcessTable(options.root / "processes.json", grace_seconds=options.stop_seconds)
        self._runner = Runner(
            options=options, processes=self._processes, environment=self._environment, changed=self._note_change
        )
        self._engine = DeploymentEngine(
            options=options,
            cloud=cloud,
            runner=self._runner,
            configuration=configuration,
            packages=PackageStore(options.root / "packages"),
            credentials=self._credentials,
            service=self._service,
            updates=updates,
        )
        self._stop = asyncio.Event()
        self._unreported = True
        self._online = True
        self._deployment: dict[str, Any] = {}
        self._phase = "STARTING"

    def stop(self) -> None:
        """Make :meth:`run` end, soon; call it on the event loop."""
        self._stop.set()

    def deliver(self, topic: str, payload: bytes) -> None:
        """Let a message of AWS IoT Core arrive at the components that subscribed to its topic."""
        self._service.deliver(topic, payload)

    async def run(self) -> None:
        """Resume the last deployment, then follow the cloud's until :meth:`stop`.

        Raises:
            RootInUseError: the root path belongs to a running device.
        """
        with _locked(self._options.root / "lock"):
            try:
                self._write_state()
                self._processes.open()
                self._credentials.open()
                await self._ipc.open()
                event("started", thing=self._options.thing_name, root=self._options.root, ipc=self._ipc.path)
                await self._work()
            finally:
                self._phase = "STOPPING"
                await self._runner.stop(tuple(self._runner.components))
                await self._ipc.close()
                self._credentials.close()
                self._processes.close()
                self._phase = "STOPPED"
                self._write_state()
                event("stopped")

    async def _work(self) -> None:
        """Do everything until told to stop; a failure of any part ends it with that error."""
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        tasks = {
            stop,
            asyncio.create_task(self._follow_cloud(), name="follow cloud"),
            asyncio.create_task(self._iot_core.send_forever(), name="send to IoT Core"),
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done - {stop}:
            task.result()

    async def _follow_cloud(self) -> None:
        await self._engine.resume()
        self._phase = "RUNNING"
        self._write_state()
        wait = self._options.poll_seconds
        while True:
            try:
                await self._poll()
                wait = self._options.poll_seconds
                self._note_online(online=True)
            except CloudUnreachableError as error:
                self._note_online(online=False, reason=str(error))
                wait = min(2 * wait, max(_MAX_OFFLINE_WAIT, self._options.poll_seconds))
            except CloudRefusedError as error:
                event("cloud_refused", level=logging.ERROR, reason=str(error))
            await asyncio.sleep(wait)

    async def _poll(self) -> None:
        await asyncio.to_thread(self._reporter.flush)
        deployments = await asyncio.to_thread(self._cloud.effective_deployments)
        latest: dict[str, EffectiveDeployment] = {}
        for deployment in sorted(deployments, key=lambda item: item.created):
            latest[deployment.target] = deployment
        handled = self._engine.current.handled
        for deployment in latest.values():
            if deployment.status in _OPEN and deployment.id not in handled:
                await self._deploy(deployment, targets=set(latest))
        self._engine.forget_other_than({deployment.id for deployment in deployments})
        if self._unreported:
            self._unreported = False
            try:
                await asyncio.to_thread(
                    self._reporter.health, self._components(), nucleus_version=self._engine.nucleus_version
                )
            except CloudUnreachableError:
                self._unreported = True
                raise

    async def _deploy(self, deployment: EffectiveDeployment, *, targets: set[str]) -> None:
        event("deployment_started", deployment=deployment.id, target=deployment.target)
        self._note_deployment(deployment, "IN_PROGRESS")
        if deployment.status != "IN_PROGRESS":
            self._reporter.deployment(deployment.job_id, "IN_PROGRESS", details={})
            await asyncio.to_thread(self._reporter.flush)
        outcome: Outcome = await self._engine.apply(deployment, targets=targets)
        # The report first: a crash in between repeats it, where the other order would lose it.
        self._reporter.deployment(deployment.job_id, outcome.status, details=outcome.as_details())
        self._engine.remember(deployment.id, outcome.status)
        self._note_deployment(deployment, outcome.status, reason=outcome.reason, detail=outcome.detail)
        event(
            "deployment_finished",
            level=logging.INFO if outcome.status == "SUCCEEDED" else logging.ERROR,
            deployment=deployment.id,
            status=outcome.status,
            detail=outcome.detail,
            reason=outcome.reason,
        )
        # The components' states arrive before the word that the deployment is done.
        await asyncio.to_thread(self._reporter.health, self._components(), nucleus_version=self._engine.nucleus_version)
        await asyncio.to_thread(self._reporter.flush)

    def _environment(self, plan: Plan) -> dict[str, str]:
        environment = inherited_environment() | {
            "AWS_IOT_THING_NAME": self._options.thing_name,
            "AWS_REGION": self._options.region,
            "AWS_DEFAULT_REGION": self._options.region,
            "GGC_VERSION": self._engine.nucleus_version,
            "SVCUID": self._service.issue_token(plan.name),
            "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT": str(self._ipc.path),
        }
        if plan.needs_credentials:
            environment |= self._credentials.environment(plan.name)
        return environment

    def _components(self) -> Sequence[dict[str, Any]]:
        result = []
        arns = list(self._engine.current.targets)
        for item in self._engine.current.components:
            component = self._runner.components.get(item["name"])
            if component is not None:
                status, reason = component.state.value, component.reason
            elif item["name"] in BUILT_IN:
                status, reason = ("FINISHED" if item["name"] in NUCLEUS_NAMES else "RUNNING"), ""
            else:
                status, reason = "BROKEN", "it could not be started"
            result.append(
                {
                    "componentName": item["name"],
                    "componentVersion": item["version"],
                    "version": item["version"],
                    "isRoot": item["isRoot"],
                    "status": status,
                    "statusDetails": {"statusCodes": [], "statusReason": reason},
                    "fleetConfigArns": arns,
                }
            )
        return result

    def _note_change(self) -> None:
        self._unreported = True
        self._write_state()

    def _note_deployment(self, deployment: EffectiveDeployment, status: str, **more: str) -> None:
        self._deployment = {"id": deployment.id, "target": deployment.target, "status": status, **more}
        self._write_state()

    def _note_online(self, *, online: bool, reason: str = "") -> None:
        if online != self._online:
            event("cloud_reachable" if online else "cloud_unreachable", level=logging.WARNING, reason=reason)
            self._online = online
            self._write_state()

    def _write_state(self) -> None:
        components = {
            name: {
                "version": component.plan.version,
                "state": component.state.value,
                "reason": component.reason,
                "pid": component.pid,
                "restarts": component.restarts,
            }
            for name, component in self._runner.components.items()
        }
        state = {
            "thing": self._options.thing_name,
            "phase": self._phase,
            "online": self._online,
            "emulated": self._emulated(),
            "deployment": self._deployment,
            "components": components,
        }
        write_json(self._options.root / "state.json", state)

    def _emulated(self) -> dict[str, str]:
        current = self._engine.current.components
        return {item["name"]: item["version"] for item in current if item["name"] in BUILT_IN}


@contextlib.contextmanager
def _locked(path: Any) -> Any:
    file: IO[bytes]
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RootInUseError(f"{path.parent} belongs to a core device that is running; give another root") from None
        yield
