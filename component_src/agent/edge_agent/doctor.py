# SPDX-License-Identifier: Apache-2.0
"""``edge-agent doctor``: what a run would find on this device. Changes nothing, and may run beside the agent."""

from __future__ import annotations

import errno
import importlib.metadata
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent import settings, unix_socket
from edge_agent.command_line import read_settings
from edge_agent.parameter_reader import SettingsError
from edge_contract.client import AgentClient
from edge_contract.errors import AgentError
from edge_package import MANIFEST_NAME, PackageError, read_package

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from edge_agent.settings import Settings

_OK, _NOTE, _BAD = "ok", "note", "BAD"
_TIMEOUT_SECONDS = 3.0
_LEAST_FREE_BYTES = 64 * 1024 * 1024


def main(arguments: argparse.Namespace) -> int:
    """Write one line for each finding to standard output.

    Returns:
        0 when a run would work, 1 when something marked BAD is in its way.
    """
    bad = False
    for mark, what, text in _findings(arguments):
        bad = bad or mark == _BAD
        sys.stdout.write(f"{mark:<5}{what:<14}{text}\n")
    return int(bad)


def _findings(arguments: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    yield _OK, "python", f"{platform.python_version()} on {platform.machine()}, {sys.executable}"
    yield from _engines()
    try:
        parameters = read_settings(arguments, ask_nucleus=_ask_nucleus, environment=os.environ)
    except SettingsError as error:
        yield _BAD, "configuration", str(error)
        return
    names = f"device {parameters.device_name}, fleet {parameters.device_fleet_name}"
    yield _OK, "configuration", f"{names}, captures to {parameters.capture_data_destination}"
    for check in (_providers, _socket, _disk, _trust, _credentials, _models):
        yield from check(parameters)


def _ask_nucleus() -> dict[str, object]:
    from edge_agent.nucleus import Nucleus  # noqa: PLC0415 # only with one around

    nucleus = Nucleus(on_change=lambda: None)
    try:
        return nucleus.get_configuration()
    finally:
        nucleus.close()


def _engines() -> Iterator[tuple[str, str, str]]:
    try:
        from edge_agent.engines.onnx import available_providers  # noqa: PLC0415 # may be what is broken

        version = importlib.metadata.version("onnxruntime")
        yield _OK, "onnxruntime", f"{version} with {', '.join(available_providers())}"
    except Exception as error:  # noqa: BLE001 # whatever it is, it is the finding
        yield _BAD, "onnxruntime", f"cannot be used: {error}"
    yield _OK, "dlr", "comes with each Neo-compiled package"


def _providers(parameters: Settings) -> Iterator[tuple[str, str, str]]:
    from edge_agent.engines.onnx import available_providers  # noqa: PLC0415 # see above

    absent = [name for name in parameters.execution_providers if name not in available_providers()]
    if absent:
        yield _BAD, "engines", f"ExecutionProviders: {', '.join(absent)} is not in this ONNX Runtime"
    yield _OK, "engines", f"native runtimes of packages: {parameters.native_runtimes}"


def _socket(parameters: Settings) -> Iterator[tuple[str, str, str]]:
    path = parameters.unix_socket_name
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        yield _BAD, "socket", f"UnixSocketName: {path.parent} is no directory that this user may write to"
    elif not path.exists():
        yield _OK, "socket", f"{path}: free; no agent runs there"
    elif not path.is_socket():
        yield _BAD, "socket", f"UnixSocketName: {path} is taken by another kind of file"
    elif (code := unix_socket.knock(path)) == errno.EAGAIN:
        yield (
            _BAD,
            "socket",
            f"UnixSocketName: {path}: a process holds it and takes no clients: it is stopped or hangs",
        )
    elif code:
        yield _NOTE, "socket", f"{path}: left by an agent that is gone; a run replaces it"
    else:
        try:
            with AgentClient(path, timeout=_TIMEOUT_SECONDS) as client:
                models = client.list_models()
            names = ", ".join(f"{model.name} ({model.url})" for model in models) or "none"
            yield _OK, "socket", f"{path}: an agent answers; loaded models: {names}"
        except AgentError as error:
            yield _BAD, "socket", f"{path}: a process listens, but does not answer as an agent: {error}"


def _disk(parameters: Settings) -> Iterator[tuple[str, str, str]]:
    yield _room("spool", "LocalDataRootPath", parameters.local_data_root_path, parameters.capture_spool_max_bytes)
    if parameters.capture_data_destination == "Disk":
        yield _room("captures", "CaptureDataDiskPath", parameters.capture_data_disk_path, _LEAST_FREE_BYTES)
        yield _disk_bound(parameters)


def _disk_bound(parameters: Settings) -> tuple[str, str, str]:
    from edge_agent.captures.room import bytes_below  # noqa: PLC0415 # takes a moment to load

    folder, bound = parameters.capture_data_disk_folder, parameters.capture_data_disk_max_bytes
    used = bytes_below(folder)
    if not bound:
        return _OK, "captures", f"{folder}: {used} bytes in use, without a bound (CaptureDataDiskMaxBytes is 0)"
    text = f"{folder}: {used} of {bound} bytes (CaptureDataDiskMaxBytes) in use"
    if used < bound:
        return _OK, "captures", text
    return _NOTE, "captures", f"{text}: captures wait in the spool until files are uploaded or removed"


def _room(what: str, parameter: str, path: Path, wanted: int) -> tuple[str, str, str]:
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        return _BAD, what, f"{parameter}: {there} cannot be written to by this user"
    free = shutil.disk_usage(there).free
    text = f"{path}: {free >> 20} MiB free"
    return (
        (_OK, what, text) if free >= wanted else (_NOTE, what, f"{text}, less than the {wanted >> 20} MiB it may take")
    )


def _trust(parameters: Settings) -> Iterator[tuple[str, str, str]]:
    if parameters.root_certs_path is None and not parameters.signing_public_keys:
        yield _NOTE, "signatures", "no public keys are set: signatures are not checked, digests are"
        return
    from edge_agent.trust import TrustError, trusted_keys  # noqa: PLC0415 # only where there are keys

    try:
        keys = ", ".join(trusted_keys(parameters.root_certs_path, parameters.signing_public_keys))
        required = "required" if parameters.require_signature else "checked where there is one"
        yield _OK, "signatures", f"{required}; keys: {keys}"
    except TrustError as error:
        yield _BAD, "signatures", str(error)


def _credentials(parameters: Settings) -> Iterator[tuple[str, str, str]]:
    if not parameters.bucket_name:
        yield _OK, "credentials", "none needed: captures stay on this device"
        return
    import botocore.exceptions  # noqa: PLC0415 # takes a moment to load

    from edge_agent.captures.destinations import make_session  # noqa: PLC0415 # the same

    try:
        credentials = make_session(parameters).get_credentials()
        if credentials is None:
            raise botocore.exceptions.NoCredentialsError
        key = credentials.get_frozen_credentials().access_key
        yield _OK, "credentials", f"{credentials.method}, key {key[:4]}..., for the bucket {parameters.bucket_name}"
    except (botocore.exceptions.BotoCoreError, OSError) as error:
        # A device that is offline now runs all the same, and uploads later.
        yield _NOTE, "credentials", f"none at the moment: {error}"


def _models(_: Settings) -> Iterator[tuple[str, str, str]]:
    """Packages where model components leave them: in the folders beside this component's."""
    if not settings.on_greengrass(os.environ):
        yield _NOTE, "models", "no nucleus around: clients name packages by their paths"
        return
    manifests = sorted(Path.cwd().parent.glob(f"*/{MANIFEST_NAME}"))
    if not manifests:
        yield _NOTE, "models", f"no package in the folders of {Path.cwd().parent}"
    for manifest in manifests:
        yield _package(manifest.parent)


def _package(path: Path) -> tuple[str, str, str]:
    try:
        found = read_package(path).manifest
    except (PackageError, OSError) as error:
        return _BAD, "model", str(error)
    return _OK, "model", f"{path}: {found.model_name} {found.model_version}, {found.digest[:12]}"
