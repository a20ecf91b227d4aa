# SPDX-License-Identifier: Apache-2.0
"""The agent's parameters: Edge Manager's names and defaults, all values strings, checked once at the start."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.agent_file import IotCredentials
from edge_agent.engines import NATIVE_ALWAYS, NATIVE_NEVER, NATIVE_SIGNED
from edge_agent.parameter_reader import ParameterReader, SettingsError, wrong
from edge_agent.transport import GRPCIO, HTTP2
from edge_contract.limits import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

EMBED_LIMIT_BYTES = 3072
_LEAST_BYTES = 1024 * 1024
_FLEET = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PROVIDER = re.compile(r"[A-Za-z0-9]{1,100}")
_TOPIC = re.compile(r"[^#+$\x00-\x1f]{1,256}")


@dataclasses.dataclass(frozen=True)
class Settings:
    """The parameters, typed.

    Attributes:
        device_fleet_name: The fleet, a segment of every capture's key.
        device_name: The thing's name, in every capture's record.
        bucket_region: Of the bucket; empty for the environment's.
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
        transport: What serves gRPC: ``Http2`` or ``Grpcio``.
        capture_spool_max_bytes: Bound of the spool.
        capture_data_disk_max_bytes: Bound of the captures that the destination ``Disk`` holds; 0 for none.
        inference_threads: Threads of ONNX Runtime for each running prediction.
        max_concurrent_predictions: Predictions that run at the same time.
        max_queued_predictions: Predictions that may wait for one of those; more are refused.
        model_memory_max_bytes: Bound of all loaded models together, counted as the bytes of their packages.
        max_models: Models that may be loaded at the same time.
        db_enable: Whether counters survive a restart. Statuses of captures always do.
        dlr_backend_options: Environment variables for DLR libraries.
        capture_data_strict_offline: Whether a capture for the cloud is refused while the bucket cannot be reached.
        capture_data_drop_oldest: Whether a full spool gives up its oldest captures instead of refusing the newest.
        execution_providers: ONNX Runtime's, in order of preference.
        native_runtimes: Which packages may bring a runtime of their own: ``Signed``, ``Always`` or ``Never``.
        root_certs_path: Directory of public keys for signatures; None when there is none.
        signing_public_keys: More of them: each a SubjectPublicKeyInfo in base64.
        require_signature: Whether a package without a verified signature is refused.
        package_max_bytes: Bytes that a package file may unpack to.
        heartbeat_topic: IoT Core topic; empty for no heartbeat.
        heartbeat_period_seconds: How often.
        metrics_socket_name: Unix socket that gives metrics as Prometheus text; None for none.
        region: The bucket's; empty when the environment has it.
        iot_credentials: Where AWS credentials come from; None when the environment has them.
    """

    device_fleet_name: str
    device_name: str
    bucket_name: str
    bucket_region: str
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
    transport: str
    capture_spool_max_bytes: int
    capture_data_disk_max_bytes: int
    inference_threads: int
    max_concurrent_predictions: int
    max_queued_predictions: int
    model_memory_max_bytes: int
    max_models: int
    db_enable: bool
    dlr_backend_options: tuple[tuple[str, str], ...]
    capture_data_strict_offline: bool
    capture_data_drop_oldest: bool
    execution_providers: tuple[str, ...]
    native_runtimes: str
    root_certs_path: Path | None
    signing_public_keys: tuple[str, ...]
    require_signature: bool
    package_max_bytes: int
    heartbeat_topic: str
    heartbeat_period_seconds: float
    metrics_socket_name: Path | None
    iot_credentials: IotCredentials | None

    @property
    def capture_data_disk_folder(self) -> Path:
        """Where the fleet's captures are below ``capture_data_disk_path``."""
        return self.capture_data_disk_path / self.folder_prefix / self.device_fleet_name


#: What is decided once for a process; a change of any of these needs a new one.
NEEDS_RESTART = (
    "unix_socket_name",
    "unix_socket_mode",
    "unix_socket_group",
    "max_message_bytes",
    "transport",
    "max_concurrent_predictions",
    "max_queued_predictions",
    "local_data_root_path",
    "metrics_socket_name",
    "db_enable",
)
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
    "Transport": HTTP2,
    "CaptureSpoolMaxBytes": str(256 * 1024 * 1024),
    "CaptureDataDiskMaxBytes": str(4 * 1024 * 1024 * 1024),
    "InferenceThreads": "1",
    "MaxConcurrentPredictions": "2",
    "MaxQueuedPredictions": "16",
    "ModelMemoryMaxBytes": str(2 * 1024 * 1024 * 1024),
    "MaxModels": "16",
    "CaptureDataStrictOffline": "false",
    "CaptureDataDropOldest": "false",
    "ExecutionProviders": "CPUExecutionProvider",
    "NativeRuntimes": NATIVE_SIGNED,
    "RootCertsPath": "",
    "RequireSignature": "false",
    "SigningPublicKeys": "",
    "PackageMaxBytes": str(1024 * 1024 * 1024),
    "HeartbeatTopic": "gg/sageMakerEdgeManager/heartbeat",
    "HeartbeatPeriodSeconds": "60",
    "MetricsSocketName": "",
}
#: Accepted for the sake of existing deployments; they steer what this agent does differently or not at all.
WITHOUT_EFFECT = ("DeploymentPollInterval",)
_MAY_BE_BLANK = ("FolderPrefix", "HeartbeatTopic")  # blank means none, not the default


def parse(
    values: Mapping[str, object],
    *,
    device_name: str,
    work: Path,
    region: str = "",
    iot_credentials: IotCredentials | None = None,
) -> Settings:
    """Check the parameters.

    Args:
        values: Parameter names and values. Strings, or numbers and booleans as JSON has them; unknown names are left
            to ``unknown``.
        device_name: The IoT thing's name.
        work: The component's working directory, absolute: what relative and blank paths stand for.
        region: The bucket's; empty when the environment has it.
        iot_credentials: Where AWS credentials come from; None when the environment has them.

    Raises:
        SettingsError: The first parameter that is missing or not what it must be.
    """
    read = _reader(values)
    if not device_name:
        raise SettingsError(
            "AWS_IOT_THING_NAME: expected the thing's name in the environment (or sagemaker_edge_core_device_name in "
            "the configuration file), got nothing"
        )
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
    disk_bytes = read.whole("CaptureDataDiskMaxBytes", 0, 2**50)
    if 0 < disk_bytes < _LEAST_BYTES:
        raise wrong("CaptureDataDiskMaxBytes", f"0 for no bound, or {_LEAST_BYTES} or more", disk_bytes)
    roots = work / path if (path := read.text("RootCertsPath")) else None
    require_signature = read.flag("RequireSignature")
    public_keys = tuple(read.text("SigningPublicKeys").split())
    if require_signature and roots is None and not public_keys:
        raise SettingsError(
            "RootCertsPath or SigningPublicKeys: expected public keys, as RequireSignature is true; got nothing"
        )
    return Settings(
        device_fleet_name=read.matching("DeviceFleetName", _FLEET, "1 to 63 letters, digits and inner hyphens"),
        device_name=device_name,
        bucket_name=bucket,
        bucket_region=region,
        capture_data_batch_size=batch,
        capture_data_buffer_size=buffer,
        capture_data_destination=destination,
        capture_data_periodic_upload=periodic and destination == "Disk",
        capture_data_periodic_upload_period_seconds=read.seconds("CaptureDataPeriodicUploadPeriodSeconds"),
        capture_data_push_period_seconds=read.seconds("CaptureDataPushPeriodSeconds"),
        capture_data_base64_embed_limit=read.whole("CaptureDataBase64EmbedLimit", 0, EMBED_LIMIT_BYTES),
        folder_prefix=read.folder("FolderPrefix"),
        capture_data_disk_path=work / (read.text("CaptureDataDiskPath") or "capture"),
        local_data_root_path=work / read.text("LocalDataRootPath"),
        verbose=read.flag("SagemakerEdgeLogVerbose"),
        unix_socket_name=work / read.text("UnixSocketName"),
        unix_socket_mode=read.mode("UnixSocketMode"),
        unix_socket_group=read.text("UnixSocketGroup"),
        max_message_bytes=read.whole("MaxMessageBytes", 4 * 1024 * 1024, 2**31 - 1),
        transport=read.choice("Transport", (HTTP2, GRPCIO)),
        capture_spool_max_bytes=read.whole("CaptureSpoolMaxBytes", _LEAST_BYTES, 2**50),
        capture_data_disk_max_bytes=disk_bytes,
        inference_threads=read.whole("InferenceThreads", 1, 256),
        max_concurrent_predictions=read.whole("MaxConcurrentPredictions", 1, 256),
        max_queued_predictions=read.whole("MaxQueuedPredictions", 0, 1024),
        model_memory_max_bytes=read.whole("ModelMemoryMaxBytes", 1024 * 1024, 2**50),
        max_models=read.whole("MaxModels", 1, 1000),
        db_enable=read.flag("DbEnable"),
        dlr_backend_options=read.options("DLRBackendOptions"),
        capture_data_strict_offline=read.flag("CaptureDataStrictOffline"),
        capture_data_drop_oldest=read.flag("CaptureDataDropOldest"),
        execution_providers=read.names("ExecutionProviders", _PROVIDER, "names of execution providers, with commas"),
        native_runtimes=read.choice("NativeRuntimes", (NATIVE_SIGNED, NATIVE_ALWAYS, NATIVE_NEVER)),
        root_certs_path=roots,
        signing_public_keys=public_keys,
        require_signature=require_signature,
        package_max_bytes=read.whole("PackageMaxBytes", 1024, 2**50),
        heartbeat_topic=read.matching("HeartbeatTopic", _TOPIC, "an IoT Core topic without wildcards", required=False),
        heartbeat_period_seconds=read.seconds("HeartbeatPeriodSeconds", lowest=1.0),
        metrics_socket_name=work / metrics if (metrics := read.text("MetricsSocketName")) else None,
        iot_credentials=iot_credentials,
    )


def changed(before: Settings, after: Settings) -> list[str]:
    """The attributes that differ."""
    names = (field.name for field in dataclasses.fields(Settings))
    return [name for name in names if getattr(before, name) != getattr(after, name)]


def unknown(values: Mapping[str, object]) -> list[str]:
    """Names that are no parameters: misspelt, or left from an older deployment, whose merged keys stay."""
    return sorted(set(values) - set(DEFAULTS) - {"accessControl"})


def without_effect(values: Mapping[str, object]) -> list[str]:
    """Parameters that were set to something else than their default, but steer nothing here."""
    read = _reader(values)
    return [name for name in WITHOUT_EFFECT if read.text(name).lower() != DEFAULTS[name]]


def _reader(values: Mapping[str, object]) -> ParameterReader:
    return ParameterReader(values, defaults=DEFAULTS, may_be_blank=_MAY_BE_BLANK)


def device_name_from(environment: Mapping[str, str]) -> str:
    """Find the device's name where the nucleus puts it."""
    return environment.get("AWS_IOT_THING_NAME", "")


def on_greengrass(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a nucleus started this process and answers over IPC."""
    return "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT" in environment
