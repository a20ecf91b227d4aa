# SPDX-License-Identifier: Apache-2.0
import contextlib
import dataclasses
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import boto3.session
import botocore.config
import botocore.session

from local.aws.calls import FILE_NAME, Call, read_calls
from local.aws.environment import HOST, environment
from local.aws.inventory import Inventory, take_inventory

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
INTERPRETER = VENV / "aws" / "bin" / "python"
START_SECONDS = 30.0
STOP_SECONDS = 8.0
LOG_TAIL_LINES = 20
PORT_ATTEMPTS = 3


class EmbeddedAwsError(Exception):
    """The embedded AWS did not start, or did not do what it was told; the message ends with its log's tail."""


@dataclasses.dataclass(frozen=True)
class Credentials:
    """Keys of a role's session, as STS hands them out."""

    access_key_id: str
    secret_access_key: str
    session_token: str


class EmbeddedAws:
    """An AWS on this machine: one child process that listens on one port of 127.0.0.1 and forgets everything.

    It checks the IAM policies of every caller but the account's root user, and records every call.

    Use it as a context manager around what needs it::

        with EmbeddedAws.start(directory=path, account="111122223333", region="us-east-1") as aws:
            subprocess.run(["cdk", "deploy"], env=aws.environment(), check=True)

    The child ends with :meth:`stop`, and when this process ends in any way.
    """

    def __init__(
        self, *, process: subprocess.Popen[bytes], port: int, account: str, region: str, directory: Path
    ) -> None:
        """Takes over a started child; use :meth:`start`."""
        self._process = process
        self._directory = directory
        self._stopped = False
        # Profiles and files of the user must not even be looked at: a missing profile raises.
        without_files = botocore.session.Session(
            session_vars={
                "profile": (None, None, None, None),
                "config_file": (None, None, os.devnull, None),
                "credentials_file": (None, None, os.devnull, None),
            }
        )
        self._session: Any = boto3.session.Session(botocore_session=without_files)
        self.port = port
        self.account = account
        self.region = region

    @classmethod
    def start(cls, *, directory: Path, account: str, region: str) -> Self:
        """Starts the child and waits until it answers.

        Args:
            directory: Where it keeps its log and temporary files; made when it is not there.
            account: Twelve digits.
            region: Such as ``us-east-1``.

        Raises:
            EmbeddedAwsError: It is not installed, or did not answer within 30 seconds.
        """
        if not INTERPRETER.exists():
            raise EmbeddedAwsError(f"the embedded AWS is not installed: there is no {INTERPRETER}. Run `make setup`")
        directory.joinpath("tmp").mkdir(parents=True, exist_ok=True)
        for attempt in range(1, PORT_ATTEMPTS + 1):
            port = _free_port()
            aws = cls(
                process=_spawn(directory=directory, account=account, region=region, port=port),
                port=port,
                account=account,
                region=region,
                directory=directory,
            )
            try:
                aws._wait_until_healthy()
            except BaseException as error:
                exited = aws._process.poll() is not None
                aws.stop()
                # Somebody may have taken the port between our look and the child's bind.
                if isinstance(error, EmbeddedAwsError) and exited and attempt < PORT_ATTEMPTS:
                    continue
                raise
            return aws
        raise AssertionError("the loop returns or raises")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def endpoint(self) -> str:
        """URL of every service."""
        return f"http://{HOST}:{self.port}"

    @property
    def log(self) -> Path:
        """The child's log."""
        return self._directory / "aws.log"

    @property
    def pid(self) -> int:
        """The child's process id, which is its process group's too."""
        return self._process.pid

    def environment(self) -> dict[str, str]:
        """This process's environment, changed so that the CDK CLI and any AWS SDK see only the embedded AWS."""
        return environment(account=self.account, region=self.region, port=self.port)

    def client(self, service: str, *, credentials: Credentials | None = None) -> Any:
        """A boto3 client of one service.

        Args:
            service: Name of the service in boto3.
            credentials: Those of a role's session; without them the root user of the account.
        """
        return self._session.client(
            service,
            region_name=self.region,
            endpoint_url=self.endpoint,
            aws_access_key_id=credentials.access_key_id if credentials else self.account,
            aws_secret_access_key=credentials.secret_access_key if credentials else "test",
            aws_session_token=credentials.session_token if credentials else None,
            config=botocore.config.Config(inject_host_prefix=False, proxies={}, retries={"total_max_attempts": 2}),
        )

    def assume_role(self, role_arn: str, *, session_name: str) -> Credentials:
        """Credentials of a role's session."""
        answer = self.client("sts").assume_role(RoleArn=role_arn, RoleSessionName=session_name)["Credentials"]
        return Credentials(answer["AccessKeyId"], answer["SecretAccessKey"], answer["SessionToken"])

    def calls(self) -> Sequence[Call]:
        """Every call that was made since the start, with its principal and whether its policies allowed it."""
        return read_calls(self._directory / FILE_NAME)

    def inventory(self, *, assembly: Path | None = None) -> Inventory:
        """What of the stacks exists here, and by whose doing.

        Args:
            assembly: A cloud assembly (``cdk.out``): only its stacks are listed then, and those not deployed as such.
        """
        return take_inventory(self.client("cloudformation"), assembly=assembly)

    def stop(self) -> None:
        """Ends the child and whatever it started; does nothing the second time."""
        process, stopped, self._stopped = self._process, self._stopped, True
        if stopped:
            return
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
        # Lambda functions live in the child's group; after a KILL, or of a hung function, something may be left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdin is not None:
            process.stdin.close()

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not _healthy(self.port):
            if self._process.poll() is not None:
                raise EmbeddedAwsError(f"the embedded AWS ended with {self._process.returncode}\n{self._log_tail()}")
            if time.monotonic() > deadline:
                raise EmbeddedAwsError(f"the embedded AWS was silent for {START_SECONDS:g} s\n{self._log_tail()}")
            time.sleep(0.05)

    def _log_tail(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join([f"{self.log}:", *lines[-LOG_TAIL_LINES:]])


def _spawn(*, directory: Path, account: str, region: str, port: int) -> subprocess.Popen[bytes]:
    variables = {
        **environment(account=account, region=region, port=port),
        # Functions for Node run on the Node that this project pins.
        "PATH": os.pathsep.join([str(VENV / "bin"), os.environ.get("PATH", os.defpath)]),
        "BIND_HOST": HOST,
        "GATEWAY_PORT": str(port),
        "MINISTACK_ACCOUNT_ID": account,
        "MINISTACK_REGION": region,
        "TMPDIR": str(directory / "tmp"),
        "STATE_DIR": str(directory / "state"),
        "S3_DATA_DIR": str(directory / "s3"),
        "IOT_MTLS_ENABLED": "0",  # its broker would listen on every interface
        "SFTP_ENABLED": "0",
        "LAMBDA_EXECUTOR": "local",
        "DOCKER_HOST": f"unix://{directory / 'no-docker.sock'}",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    with directory.joinpath("aws.log").open("w", encoding="utf-8") as log:
        return subprocess.Popen(
            [str(INTERPRETER), "-m", "local.aws.extension", str(directory / FILE_NAME)],
            cwd=ROOT,
            env=variables,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=1)
    try:
        connection.request("GET", "/_ministack/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
