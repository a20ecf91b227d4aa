# SPDX-License-Identifier: Apache-2.0
"""The tables of an environment's file: their keys, types and defaults."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from edge_constructs.wheels import WheelTargets

table = dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))

_DEVICE_NAME = re.compile(r"[a-z0-9](-*[a-z0-9]){0,62}")
_SOCKET_PATH_BYTES = 107  # sun_path of a unix socket, less its final NUL


def _device_name(value: str) -> str:
    # A thing name is also Edge Manager's DeviceName, and thing names are lower case there: specification §1.7.
    if not _DEVICE_NAME.fullmatch(value):
        raise ValueError("should be 1 to 63 lower-case letters and digits, with dashes only between them")
    return value


def _socket_path(value: str) -> str:
    length = len(value.encode())
    if not value.startswith("/") or length > _SOCKET_PATH_BYTES:
        raise ValueError(f"should be an absolute path of at most {_SOCKET_PATH_BYTES} bytes, this one has {length}")
    return value


DeviceName = Annotated[str, AfterValidator(_device_name)]
SocketPath = Annotated[str, AfterValidator(_socket_path)]
Days = Annotated[int, Field(ge=1, le=3650)]
Version = Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
Topic = Annotated[str, Field(pattern=r"^[^#+$'\"\x00-\x1f]*$", max_length=256)]


@table
class Retention:
    """How long data is kept, in days."""

    captures_days: Days = 365
    logs_days: Literal[1, 7, 30, 90, 180, 365] = 30


@table
class Greengrass:
    """The public components that a deployment pins: unpinned ones update themselves and restart devices."""

    nucleus: Literal["aws.greengrass.Nucleus", "aws.greengrass.NucleusLite"] = "aws.greengrass.Nucleus"
    nucleus_version: Version
    token_exchange_service_version: Version
    edge_manager_version: Version = "1.3.2"  # aws.greengrass.SageMakerEdgeManager, in sagemaker mode


AgentParameter = Literal[
    "CaptureDataDiskMaxBytes",
    "CaptureDataDropOldest",
    "CaptureDataStrictOffline",
    "CaptureSpoolMaxBytes",
    "ExecutionProviders",
    "InferenceThreads",
    "MaxConcurrentPredictions",
    "MaxMessageBytes",
    "MaxModels",
    "MaxQueuedPredictions",
    "MetricsSocketName",
    "ModelMemoryMaxBytes",
    "NativeRuntimes",
    "PackageMaxBytes",
    "RootCertsPath",
    "Transport",
    "UnixSocketGroup",
    "UnixSocketMode",
]


@table
class Agent:
    """Where the agent listens, how much it logs, and Edge Manager's parameters that are not about captures.

    A blank path leaves the agent its own: its work directory. `parameters` are the open agent's own, by the names of
    docs/operations/agent.md; the agent checks their values.
    """

    unix_socket_name: SocketPath = "/tmp/aws.greengrass.SageMakerEdgeManager.sock"  # noqa: S108 -- Edge Manager's default
    log_verbose: bool = False
    local_data_root_path: str = ""
    db_enable: bool = False
    deployment_enable: bool = False
    deployment_poll_minutes: Annotated[int, Field(ge=1)] = 1440
    dlr_backend_options: str = ""
    parameters: dict[AgentParameter, str | int | bool] = Field(default_factory=dict)


@table
class Artifacts:
    """Whether components carry their Python packages, for devices without a package index; see `make wheels`.

    `pythons` are the versions of the devices' `python3`; the artifact of each architecture has the wheels for all of
    them.
    """

    wheels: bool = False
    architectures: Annotated[tuple[Literal["amd64", "aarch64"], ...], Field(min_length=1)] = ("amd64", "aarch64")
    pythons: tuple[Annotated[str, Field(pattern=r"^3\.(9|1[0-3])$")], ...] = ()

    @property
    def targets(self) -> WheelTargets | None:
        """What wheels are for; None when components carry none."""
        return WheelTargets(architectures=self.architectures, pythons=self.pythons) if self.wheels else None


@table
class Signing:
    """The keys that sign model packages, by a name of their own each: the first signs, devices trust all of them.

    To rotate, put a new name in front. The former one may go once every deployed model has a version signed by the new.
    """

    keys: Annotated[tuple[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")], ...], Field(min_length=1)] = (
        "1",
    )
    require: bool = True


@table
class Capture:
    """Edge Manager's capture parameters, with its defaults (specification §2.2)."""

    destination: Literal["Cloud", "Disk"] = "Cloud"
    folder_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")] = "sme-capture"
    disk_path: str = ""
    periodic_upload: bool = False
    periodic_upload_period_seconds: Annotated[int, Field(ge=1)] = 8
    batch_size: Annotated[int, Field(ge=1)] = 10
    buffer_size: Annotated[int, Field(ge=2)] = 30
    push_period_seconds: Annotated[int, Field(ge=1)] = 4
    base64_embed_limit: Annotated[int, Field(ge=0, le=3072)] = 3072


@table
class Inference:
    """What the image classification component does (the parameters of AWS's sample component)."""

    model: str
    image_name: str = ""
    image_directory: str = ""
    interval_seconds: Annotated[int, Field(ge=1)] = 3600
    topic: Topic = "gg/sageMakerEdgeManager/image-classification"
    # How long a component in the middle of a pass may put an update off, all in all; 0: not at all.
    defer_update_seconds: Annotated[int, Field(ge=0, le=86400)] = 300


@table
class Detection(Inference):
    """What the object detection component does. Without this table it is not deployed."""

    topic: Topic = "gg/sageMakerEdgeManager/object-detection"


@table
class Heartbeat:
    """How often the agent says what it counted: each one is a message, a write and a share of an invocation."""

    period_seconds: Annotated[int, Field(ge=5, le=3600)] = 60


@table
class Verification:
    """What a release must show on the first group of devices before it goes any further."""

    wait_minutes: Annotated[int, Field(ge=1, le=480)] = 30
    heartbeats: Annotated[int, Field(ge=1, le=100)] = 2
    maximum_error_percentage: Annotated[float, Field(ge=0, le=100)] = 1.0
    maximum_latency_milliseconds: Annotated[float, Field(gt=0)] = 1000.0
    maximum_silent_percentage: Annotated[float, Field(ge=0, lt=100)] = 0.0


@table
class Alarms:
    """What raises an alarm, in each group of devices; counts and rates are of one window."""

    notify: bool = True
    silent_minutes: Annotated[int, Field(ge=5, le=10080)] = 15
    silent_devices: Annotated[int, Field(ge=1)] = 1
    window_minutes: Annotated[int, Field(ge=5, le=1440, multiple_of=5)] = 15
    load_failures: Annotated[int, Field(ge=1)] = 1
    error_percentage: Annotated[float, Field(ge=0, lt=100)] = 5.0
    latency_milliseconds: Annotated[float, Field(gt=0)] = 1000.0
    refused_captures: Annotated[int, Field(ge=1)] = 20  # a client repeats some, when it is quicker than its spool
    other_digest_devices: Annotated[int, Field(ge=1)] = 1
