# SPDX-License-Identifier: Apache-2.0
"""An environment on this machine, whole: synthesised, deployed to the embedded AWS, with one core device."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from local.assembly import Assembly
from local.aws.server import EmbeddedAws
from local.commands import kill_group, run, tail

ROOT = Path(__file__).parents[1]
ACCOUNT = "111122223333"
REGION = "us-east-1"
_SYNTH_SECONDS = 180.0
_DEPLOY_SECONDS = 600.0
_STOP_SECONDS = 30.0
_MADE_HERE = ("aws", "cdk.out", "device", "logs", "report.html", "report.json")

Notify = Callable[[str], None]


class LocalSystemError(Exception):
    """The local system did not do what was waited for; the message ends with the log that tells why."""


class LocalSystem:
    """Use it as a context manager; everything that it started has stopped when the block is left.

    Args:
        directory: where it keeps everything. What a former run left there goes, except the components' virtual
            environments: they are to this device what they are to one that reboots.
        stage: the environment's name.
        overrides: dotted key to value, as for `cdk -c <stage>.<key>=<value>`.
        notify: told of each step as it begins.
    """

    def __init__(self, *, directory: Path, stage: str, overrides: Mapping[str, str], notify: Notify) -> None:
        self.directory = directory
        self.assembly = Assembly(directory / "cdk.out", stage)
        self._stage = stage
        self._overrides = dict(overrides)
        self._notify = notify
        self._stack = contextlib.ExitStack()
        self._aws: EmbeddedAws | None = None
        self._device: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        _clear(self.directory)
        # A unix socket's path has 107 bytes at the most, and a clone may lie deep.
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="edge-"))
        self._overrides.setdefault("agent.unix_socket_name", str(Path(folder, "agent.sock")))
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop_device()
        finally:
            self._stack.close()

    @property
    def aws(self) -> EmbeddedAws:
        """The embedded AWS, once `deploy` began."""
        assert self._aws is not None, "deploy() first"  # noqa: S101 -- a mistake of the caller's
        return self._aws

    @property
    def device_root(self) -> Path:
        """The core device's root folder."""
        return self.directory / "device"

    def synthesise(self) -> None:
        """Run `cdk synth` for the stage.

        Raises:
            CommandError: it failed; nothing was deployed.
        """
        self._notify(f"synthesising {self._stage}")
        context = {"env": self._stage, **{f"{self._stage}.{key}": value for key, value in self._overrides.items()}}
        arguments = [f"--context={key}={value}" for key, value in context.items()]
        command = ["synth", "**", "--quiet", f"--output={self.assembly.path}", *arguments]
        self._cdk(command, name="synth", environment=_offline(), timeout=_SYNTH_SECONDS)

    def deploy(self) -> None:
        """Start the embedded AWS; run `cdk bootstrap` and `cdk deploy` on the assembly as it is.

        Raises:
            EmbeddedAwsError: the embedded AWS did not start.
            CommandError: a command failed.
        """
        self._notify("starting the embedded AWS")
        aws = EmbeddedAws.start(directory=self.directory / "aws", account=ACCOUNT, region=REGION)
        self._aws = self._stack.enter_context(aws)
        app = f"--app={self.assembly.path}"
        self._notify("cdk bootstrap")
        self._cdk([app, "bootstrap", f"aws://{ACCOUNT}/{REGION}"], name="bootstrap", environment=aws.environment())
        self._notify(f"cdk deploy '{self._stage}/*'")
        deploy = [app, "deploy", f"{self._stage}/*", "--require-approval=never", "--progress=events"]
        self._cdk(deploy, name="deploy", environment=aws.environment())

    def start_device(self) -> None:
        """Start the core device of the first thing."""
        self._notify("booting the core device")
        command = [sys.executable, "-m", "local.core_device"]
        command += ["--thing-name", self.assembly.thing_names[0], "--root", str(self.device_root)]
        command += ["--role-alias", self.assembly.role_alias, "--iot-policy", self.assembly.iot_policy]
        if self.assembly.asks_components:
            command.append("--component-updates")
        log = self.device_root.parent / "logs" / "core-device.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._device = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.aws.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def stop_device(self) -> None:
        """Stop the core device with SIGTERM, as a machine that shuts down would; does nothing the second time."""
        device, self._device = self._device, None
        if device is None:
            return
        device.terminate()
        try:
            device.wait(_STOP_SECONDS)
        finally:
            kill_group(device)

    def deployment_status(self) -> str:
        """The deployment's state on the device, as the device reported it to the cloud."""
        client = self.aws.client("greengrassv2")
        thing = self.assembly.thing_names[0]
        deployments = client.list_effective_deployments(coreDeviceThingName=thing)["effectiveDeployments"]
        return str(deployments[0]["coreDeviceExecutionStatus"]) if deployments else "NONE"

    def wait_for(self, condition: Callable[[], bool], *, what: str, timeout: float) -> None:
        """Wait until `condition` holds.

        Raises:
            LocalSystemError: it did not within `timeout` seconds, or the core device ended.
        """
        log = self.directory / "logs" / "core-device.log"
        deadline = time.monotonic() + timeout
        while not condition():
            if self._device is not None and self._device.poll() is not None:
                raise LocalSystemError(f"the core device ended with exit code {self._device.returncode}\n{tail(log)}")
            if time.monotonic() > deadline:
                raise LocalSystemError(f"{what}: waited {timeout:g} s in vain\n{tail(log)}")
            time.sleep(0.2)

    def wait_until_deployed(self, *, timeout: float) -> None:
        """Wait until the device says that the deployment succeeded.

        Raises:
            LocalSystemError: it failed, or took longer than `timeout` seconds.
        """
        pending = {"NONE", "QUEUED", "IN_PROGRESS"}
        self.wait_for(lambda: self.deployment_status() not in pending, what="deployment", timeout=timeout)
        if (status := self.deployment_status()) != "SUCCEEDED":
            raise LocalSystemError(f"deployment: {status}\n{tail(self.directory / 'logs' / 'core-device.log')}")

    def events(self, component: str, event: str) -> Iterator[Mapping[str, Any]]:
        """The entries of one kind in a component's log."""
        log = self.device_root / "logs" / f"{component}.log"
        if not log.exists():
            return
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict) and entry.get("event") == event:
                    yield entry

    def _cdk(
        self, arguments: list[str], *, name: str, environment: Mapping[str, str], timeout: float = _DEPLOY_SECONDS
    ) -> None:
        # Notices are looked up on the network, for minutes where there is none.
        command = [str(ROOT / "node_modules" / ".bin" / "cdk"), *arguments, "--no-notices"]
        log = self.directory / "logs" / f"cdk-{name}.log"
        run(command, log=log, environment=_with_pinned_node(environment), cwd=ROOT, timeout=timeout)


def _offline() -> dict[str, str]:
    """This process's environment, without anything that could make synth depend on an account."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "EDGE_"))}


def _with_pinned_node(environment: Mapping[str, str]) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', os.defpath)}"
    return {**environment, "PATH": path, "CDK_DISABLE_CLI_TELEMETRY": "1", "NODE_NO_WARNINGS": "1"}


def _clear(directory: Path) -> None:
    """Remove what a former run left, except the virtual environments in the components' work directories."""
    keep = {path.parent for path in directory.glob("device/work/*/venv*")}
    # By name: the folder may be anybody's, and hold more than what a run of ours makes.
    left = [path for name in _MADE_HERE for path in (directory / name, *(directory / name).rglob("*"))]
    for path in sorted(left, key=lambda path: len(path.parts), reverse=True):
        if any(folder in path.parents and path.relative_to(folder).parts[0].startswith("venv") for folder in keep):
            continue
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
        else:
            with contextlib.suppress(OSError):  # not empty: an environment that is kept lies below
                path.rmdir()
    directory.mkdir(parents=True, exist_ok=True)
