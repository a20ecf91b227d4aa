# SPDX-License-Identifier: Apache-2.0
"""The agent's parameters: Edge Manager's names and defaults, all values strings, checked once at the start."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Callable, TypeVar

from edge_contract.client import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

_T = TypeVar("_T")

EMBED_LIMIT_BYTES = 3072
_FLEET = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_FOLDER = re.compile(r"[A-Za-z0-9!_.*'()-]+(/[A-Za-z0-9!_.*'()-]+)*")


class SettingsError(ValueError):
    """A parameter is missing or not what it must be; the message names it, the expectation and the finding."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """The parameters, typed.

    Attributes:
        device_fleet_name: The fleet, a segment of every capture's key.
        device_name: The thing's name, in every capture's record.
        bucket_name: Where captures go; empty when everything stays on disk.
        capture_data_batch_size: Captures a manifest holds at most.
        capture_data_buffer_size: Captures that may wait for a batch.
        capture_data_destination: ``Cloud`` or ``Disk``.
        capture_data_periodic_upload: Whether captures on disk are uploaded, then removed.
        capture_data_periodic_upload_period_seconds: How often.
        capture_data_push_period_seconds: How long a capture waits for its batch to fill.
        capture_data_base64_embed_limit: Longest payload inside a record, bytes; a longer one is a file of its own.
        folder_prefix: First segments of every capture's key; may be empty.
        capture_data_disk_path: Where the destination ``Disk`` is; absolute.
        local_data_root_path: Where the spool is; absolute.
        verbose: Whether debug records are logged.
        unix_socket_name: The socket; absolute.
        unix_socket_mode: Its permissions. 0660 by default: the component user and its group, nobody else.
        unix_socket_group: Its group by name or number; empty for the agent's own.
        max_message_bytes: Longest gRPC message in either direction.
        capture_spool_max_bytes: Bound of the spool.
        inference_threads: Threads of ONNX Runtime for each running prediction.
        max_concurrent_predictions: Predictions that run at the same time.
        max_queued_predictions: Predictions that may wait for one of those; more are refused.
        model_memory_max_bytes: Bound of all loaded models together, counted as the bytes of their packages.
        max_models: Models that may be loaded at the same time.
    """

    device_fleet_name: str
    device_name: str
    bucket_name: str
    capture_data_batch_size: int
    capture_data_buffer_size: int
    capture_data_destination: str
    capture_data_periodic_upload: bool
    capture_data_periodic_upload_period_seconds: float
    capture_data_push_period_seconds: float
    capture_data_base64_embed_limit: int
    folder_prefix: str
    capture_data_disk_path: Path
    local_data_root_path: Path
    verbose: bool
    unix_socket_name: Path
    unix_socket_mode: int
    unix_socket_group: str
    max_message_bytes: int
    capture_spool_max_bytes: int
    inference_threads: int
    max_concurrent_predictions: int
    max_queued_predictions: int
    model_memory_max_bytes: int
    max_models: int


#: Every parameter with its default, as the recipe lists them; a blank path stands for the working directory.
DEFAULTS: Mapping[str, str] = {
    "DeviceFleetName": "",
    "BucketName": "",
    "CaptureDataBatchSize": "10",
    "CaptureDataBufferSize": "30",
    "CaptureDataDestination": "Cloud",
    "CaptureDataPeriodicUpload": "false",
    "CaptureDataPeriodicUploadPeriodSeconds": "8",
    "CaptureDataPushPeriodSeconds": "4",
    "CaptureDataBase64EmbedLimit": str(EMBED_LIMIT_BYTES),
    "FolderPrefix": "sme-capture",
    "CaptureDataDiskPath": "",
    "LocalDataRootPath": "",
    "DbEnable": "false",
    "DeploymentEnable": "false",
    "DeploymentPollInterval": "1440",
    "DLRBackendOptions": "",
    "SagemakerEdgeLogVerbose": "false",
    "UnixSocketName": "/tmp/aws.greengrass.SageMakerEdgeManager.sock",  # noqa: S108 # Edge Manager's own default
    # Ours, on top of Edge Manager's:
    "UnixSocketMode": "0660",
    "UnixSocketGroup": "",
    "MaxMessageBytes": str(MAX_MESSAGE_BYTES),
    "CaptureSpoolMaxBytes": str(256 * 1024 * 1024),
    "InferenceThreads": "1",
    "MaxConcurrentPredictions": "2",
    "MaxQueuedPredictions": "16",
    "ModelMemoryMaxBytes": str(2 * 1024 * 1024 * 1024),
    "MaxModels": "16",
}
#: Accepted for the sake of existing deployments; they steer what this agent does differently or not at all.
WITHOUT_EFFECT = ("DbEnable", "DeploymentPollInterval", "DLRBackendOptions")
_MAY_BE_BLANK = ("FolderPrefix",)  # blank means no prefix, not the default


def parse(values: Mapping[str, object], *, device_name: str, work: Path) -> Settings:
    """Check the parameters.

    Args:
        values: Parameter names and values. Strings, or numbers and booleans as JSON has them; unknown names are left
            to ``unknown``.
        device_name: The IoT thing's name.
        work: The component's working directory, absolute: what relative and blank paths stand for.

    Raises:
        SettingsError: The first parameter that is missing or not what it must be.
    """
    read = _Reader(values)
    if not device_name:
        raise SettingsError("AWS_IOT_THING_NAME: expected the thing's name in the environment, got nothing")
    if read.flag("DeploymentEnable"):
        raise SettingsError(
            "DeploymentEnable: expected false, got true: the service behind it ended on 26 April 2024; "
            "deploy models as Greengrass components instead"
        )
    destination = read.choice("CaptureDataDestination", ("Cloud", "Disk"))
    periodic = read.flag("CaptureDataPeriodicUpload")
    bucket = read.matching("BucketName", _BUCKET, "an S3 bucket name", required=destination == "Cloud" or periodic)
    batch, buffer = read.whole("CaptureDataBatchSize", 1, 10_000), read.whole("CaptureDataBufferSize", 2, 100_000)
    if batch >= buffer:
        raise SettingsError(
            f"CaptureDataBatchSize: expected less than CaptureDataBufferSize ({buffer}), got {batch}; half is good"
        )
    return Settings(
        device_fleet_name=read.matching("DeviceFleetName", _FLEET, "1 to 63 letters, digits and inner hyphens"),
        device_name=device_name,
        bucket_name=bucket,
        capture_data_batch_size=batch,
        capture_data_buffer_size=buffer,
        capture_data_destination=destination,
        capture_data_periodic_upload=periodic and destination == "Disk",
        capture_data_periodic_upload_period_seconds=read.seconds("CaptureDataPeriodicUploadPeriodSeconds"),
        capture_data_push_period_seconds=read.seconds("CaptureDataPushPeriodSeconds"),
        capture_data_base64_embed_limit=read.whole("CaptureDataBase64EmbedLimit", 0, EMBED_LIMIT_BYTES),
        folder_prefix=_folder(read.text("FolderPrefix")),
        capture_data_disk_path=work / (read.text("CaptureDataDiskPath") or "capture"),
        local_data_root_path=work / read.text("LocalDataRootPath"),
        verbose=read.flag("SagemakerEdgeLogVerbose"),
        unix_socket_name=work / read.text("UnixSocketName"),
        unix_socket_mode=_mode(read.text("UnixSocketMode")),
        unix_socket_group=read.text("UnixSocketGroup"),
        max_message_bytes=read.whole("MaxMessageBytes", 4 * 1024 * 1024, 2**31 - 1),
        capture_spool_max_bytes=read.whole("CaptureSpoolMaxBytes", 1024 * 1024, 2**50),
        inference_threads=read.whole("InferenceThreads", 1, 256),
        max_concurrent_predictions=read.whole("MaxConcurrentPredictions", 1, 256),
        max_queued_predictions=read.whole("MaxQueuedPredictions", 0, 1024),
        model_memory_max_bytes=read.whole("ModelMemoryMaxBytes", 1024 * 1024, 2**50),
        max_models=read.whole("MaxModels", 1, 1000),
    )


def unknown(values: Mapping[str, object]) -> list[str]:
    """Names that are no parameters: misspelt, or left from an older deployment, whose merged keys stay."""
    return sorted(set(values) - set(DEFAULTS) - {"accessControl"})


def without_effect(values: Mapping[str, object]) -> list[str]:
    """Parameters that were set to something else than their default, but steer nothing here."""
    read = _Reader(values)
    return [name for name in WITHOUT_EFFECT if read.text(name).lower() != DEFAULTS[name]]


def load_file(path: Path) -> dict[str, object]:
    """Read parameters from a JSON file.

    Raises:
        SettingsError: The file cannot be read or is no JSON object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: expected a readable JSON file with the agent's parameters: {error}") from None
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: expected a JSON object with the agent's parameters, got {values!r:.100}")
    return values


class _Reader:
    """Reads parameters by name and type."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values

    def text(self, name: str) -> str:
        value = self._values.get(name, DEFAULTS[name])
        if isinstance(value, bool):
            return str(value).lower()
        if not isinstance(value, (str, int, float)):
            raise _wrong(name, "a string", value)
        text = str(value).strip()
        if "\0" in text:
            raise _wrong(name, "text without a zero byte", value)
        return text if text or name in _MAY_BE_BLANK else DEFAULTS[name]

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        text = self.text(name)
        if text not in choices:
            raise _wrong(name, " or ".join(choices), text)
        return text

    def flag(self, name: str) -> bool:
        text = self.text(name).lower()
        if text not in {"true", "false"}:
            raise _wrong(name, "true or false", text)
        return text == "true"

    def matching(self, name: str, pattern: re.Pattern[str], expected: str, *, required: bool = True) -> str:
        text = self.text(name)
        if not pattern.fullmatch(text) and (text or required):
            raise _wrong(name, expected, text)
        return text

    def whole(self, name: str, lowest: int, highest: int) -> int:
        return self._number(name, int, lowest, highest, "a whole number")

    def seconds(self, name: str) -> float:
        return self._number(name, float, 0.01, 366 * 86400.0, "seconds")

    def _number(self, name: str, kind: Callable[[str], _T], lowest: _T, highest: _T, what: str) -> _T:
        text = self.text(name)
        try:
            number = kind(text)
        except ValueError:
            raise _wrong(name, what, text) from None
        if not lowest <= number <= highest:  # type: ignore[operator] # int and float; a NaN is refused too
            raise _wrong(name, f"{what} from {lowest} to {highest}", text)
        return number


def _wrong(name: str, expected: str, found: object) -> SettingsError:
    return SettingsError(f"{name}: expected {expected}, got {found!r:.200}")


def _folder(text: str) -> str:
    folder = text.strip("/")
    if folder and (not _FOLDER.fullmatch(folder) or {".", ".."} & set(folder.split("/"))):
        raise _wrong("FolderPrefix", "folder names of A-Z a-z 0-9 ! _ . * ' ( ) - with slashes between them", text)
    return folder


def _mode(text: str) -> int:
    if not re.fullmatch(r"0?[0-7]{3}", text) or not int(text, 8) & 0o200:
        raise _wrong("UnixSocketMode", "three octal digits that let the owner write, such as 0660", text)
    return int(text, 8)


def device_name_from(environment: Mapping[str, str]) -> str:
    """Find the device's name where the nucleus puts it."""
    return environment.get("AWS_IOT_THING_NAME", "")


def on_greengrass(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a nucleus started this process and answers over IPC."""
    return "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT" in environment
