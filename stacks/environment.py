# SPDX-License-Identifier: Apache-2.0
"""An environment: what `environments/<name>.toml` says, typed and checked before anything is synthesised."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from edge_constructs.compilation_settings import CompilationSettings
from edge_constructs.packaging_settings import PackagingSettings
from edge_constructs.rollout_settings import RolloutSettings
from edge_constructs.wheels import WheelTargets

# AWS's account number for documentation: what is synthesised without an account of one's own carries it.
DOCUMENTATION_ACCOUNT = "111122223333"
DEFAULT_REGION = "us-east-1"
# Where SageMaker Edge Manager was: specification §1.14.
SAGEMAKER_REGIONS = ("us-east-1", "us-east-2", "us-west-2", "eu-central-1", "eu-west-1", "ap-northeast-1")
DISCONTINUED = "AWS discontinued SageMaker Edge Manager on 26 April 2024"

T = TypeVar("T")

_REMEDIES = {
    "bool_type": "; write true or false, without quotes",
    "int_type": "; write the number without quotes",
    "string_type": "; write it in quotes",
}

_settings = dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))

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


class EnvironmentFileError(ValueError):
    """An environment file or an override is wrong; the message names file, key, expectation and finding."""


@_settings
class Retention:
    """How long data is kept, in days."""

    captures_days: Days = 365
    logs_days: Literal[1, 7, 30, 90, 180, 365] = 30


@_settings
class Greengrass:
    """The public components that a deployment pins: unpinned ones update themselves and restart devices."""

    nucleus: Literal["aws.greengrass.Nucleus", "aws.greengrass.NucleusLite"] = "aws.greengrass.Nucleus"
    nucleus_version: Version
    token_exchange_service_version: Version
    edge_manager_version: Version = "1.3.2"  # aws.greengrass.SageMakerEdgeManager, in sagemaker mode


@_settings
class Agent:
    """Where the agent listens, how much it logs, and Edge Manager's parameters that are not about captures.

    A blank path leaves the agent its own: its work directory.
    """

    unix_socket_name: SocketPath = "/tmp/aws.greengrass.SageMakerEdgeManager.sock"  # noqa: S108 -- Edge Manager's default
    log_verbose: bool = False
    local_data_root_path: str = ""
    db_enable: bool = False
    deployment_enable: bool = False
    deployment_poll_minutes: Annotated[int, Field(ge=1)] = 1440
    dlr_backend_options: str = ""


@_settings
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


@_settings
class Signing:
    """The keys that sign model packages, by a name of their own each: the first signs, devices trust all of them.

    To rotate, put a new name in front. The former one may go once every deployed model has a version signed by the new.
    """

    keys: Annotated[tuple[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")], ...], Field(min_length=1)] = (
        "1",
    )
    require: bool = True


@_settings
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


@_settings
class Inference:
    """What the image classification component does (the parameters of AWS's sample component)."""

    model: str
    image_name: str = ""
    image_directory: str = ""
    interval_seconds: Annotated[int, Field(ge=1)] = 3600
    topic: Topic = "gg/sageMakerEdgeManager/image-classification"
    # How long a component in the middle of a pass may put an update off, all in all; 0: not at all.
    defer_update_seconds: Annotated[int, Field(ge=0, le=86400)] = 300


@_settings
class Detection(Inference):
    """What the object detection component does. Without this table it is not deployed."""

    topic: Topic = "gg/sageMakerEdgeManager/object-detection"


@_settings
class Heartbeat:
    """How often the agent says what it counted: each one is a message, a write and a share of an invocation."""

    period_seconds: Annotated[int, Field(ge=5, le=3600)] = 60


@_settings
class Verification:
    """What a release must show on the first group of devices before it goes any further."""

    wait_minutes: Annotated[int, Field(ge=1, le=480)] = 30
    heartbeats: Annotated[int, Field(ge=1, le=100)] = 2
    maximum_error_percentage: Annotated[float, Field(ge=0, le=100)] = 1.0
    maximum_latency_milliseconds: Annotated[float, Field(gt=0)] = 1000.0
    maximum_silent_percentage: Annotated[float, Field(ge=0, lt=100)] = 0.0


@_settings
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


@_settings
class Environment:
    """One environment, whole. `account` and `region` come from the process's environment, not from the file."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,20}$")]
    account: Annotated[str, Field(pattern=r"^\d{12}$")]
    region: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")]
    namespace: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{0,14}$")]
    edge_manager: Literal["open", "sagemaker"] = "open"
    acknowledge_discontinued: bool = False
    devices: Annotated[tuple[DeviceName, ...], Field(min_length=1)]
    canaries: Annotated[tuple[DeviceName, ...], Field(max_length=20)] = ()
    retention: Retention = Field(default_factory=Retention)
    greengrass: Greengrass
    agent: Agent = Field(default_factory=Agent)
    artifacts: Artifacts = Field(default_factory=Artifacts)
    capture: Capture = Field(default_factory=Capture)
    rollout: RolloutSettings = Field(default_factory=RolloutSettings)
    heartbeat: Heartbeat = Field(default_factory=Heartbeat)
    verification: Verification = Field(default_factory=Verification)
    alarms: Alarms = Field(default_factory=Alarms)
    signing: Signing = Field(default_factory=Signing)
    compilation: CompilationSettings | None = None
    packaging: PackagingSettings = Field(default_factory=PackagingSettings)
    inference: Inference
    detection: Detection | None = None

    @property
    def topics(self) -> tuple[str, ...]:
        """Where results are published: one topic for each inference component that is deployed and publishes."""
        deployed = (self.inference, self.detection)
        return tuple(dict.fromkeys(one.topic for one in deployed if one is not None and one.topic))

    @property
    def signing_aliases(self) -> tuple[str, ...]:
        """The KMS aliases of the keys that sign model packages; the first signs."""
        return tuple(f"alias/{self.namespace}-model-signing-{key}" for key in self.signing.keys)

    @property
    def thing_names(self) -> tuple[str, ...]:
        """The IoT thing of each device, which is also its Edge Manager device name."""
        return tuple(f"{self.namespace}-{device}" for device in self.devices)

    @property
    def canary_things(self) -> tuple[str, ...]:
        """The things that get a release first; they are in the canary group, and not in the fleet's."""
        return tuple(f"{self.namespace}-{device}" for device in self.canaries)

    @property
    def fleet_things(self) -> tuple[str, ...]:
        """The things of the fleet's group: all that are no canaries."""
        return tuple(name for name in self.thing_names if name not in self.canary_things)

    @property
    def thing_group(self) -> str:
        """The fleet's thing group; Edge Manager's fleet name in open mode, for canaries as well."""
        return f"{self.namespace}-fleet"

    @property
    def canary_group(self) -> str:
        """The thing group of the canaries; there is none without canaries."""
        return f"{self.namespace}-canary"

    @property
    def first_group(self) -> str:
        """The thing group that a release reaches first, and is verified on."""
        return self.canary_group if self.canaries else self.thing_group

    @property
    def heartbeat_table(self) -> str:
        """The DynamoDB table that holds each device's last heartbeat."""
        return f"{self.namespace}-heartbeats"

    @property
    def last_good_parameter(self) -> str:
        """The SSM parameter that holds the deployment documents of the release that passed verification last."""
        return f"/{self.namespace}/edge-manager/last-good"

    @property
    def verifier_role(self) -> str:
        """The role that reads what verification asks."""
        return f"{self.namespace}-verifier"

    @property
    def restorer_role(self) -> str:
        """The role that records a verified release and restores it."""
        return f"{self.namespace}-restorer"

    @property
    def declared_models(self) -> str:
        """Prefix of the parameters that tell, by a model's name, which version and digest is declared."""
        return f"/edge-manager/{self.namespace}/models/"

    @property
    def longest_rollout_minutes(self) -> int:
        """How long a release may take: its first group and verification, then device after device, each in its time."""
        rollout = self.rollout
        slowest = rollout.maximum_per_minute if rollout.exponential is None else rollout.exponential.base_per_minute
        starting = -(-len(self.devices) // slowest)
        return starting + 2 * rollout.in_progress_minutes + self.verification.wait_minutes

    @property
    def device_role(self) -> str:
        """The token exchange role; SageMaker requires the prefix."""
        return f"SageMaker-{self.namespace}-device"

    @property
    def role_alias(self) -> str:
        """The role alias, in the form that AmazonSageMakerEdgeDeviceFleetPolicy expects."""
        return f"SageMakerEdge-{self.namespace}"

    @property
    def device_policy(self) -> str:
        """The IoT policy of the devices' certificates."""
        return f"{self.namespace}-core-device"

    @property
    def capture_bucket(self) -> str:
        """Edge Manager requires `sagemaker` in its name."""
        return f"sagemaker-{self.namespace}-captures-{self.account}-{self.region}"

    @property
    def artifact_bucket(self) -> str:
        """Component artifacts and model packages.

        Without `sagemaker` in its name: AmazonSageMakerEdgeDeviceFleetPolicy would let devices write to it.
        """
        return f"edge-{self.namespace}-artifacts-{self.account}-{self.region}"


_TYPE = TypeAdapter(Environment)


def load_environment(
    path: Path, *, overrides: Mapping[str, str] | None = None, variables: Mapping[str, str] | None = None
) -> Environment:
    """Read and check one environment file.

    Args:
        path: the TOML file; its stem is the environment's name.
        overrides: dotted key to value, as given on a command line; lists and tables as JSON.
        variables: where `EDGE_<NAME>_ACCOUNT` and `EDGE_<NAME>_REGION` are looked up; the process's own by default.

    Raises:
        EnvironmentFileError: the file cannot be read, or a key or value is not what it must be; every fault is listed.
    """
    variables = os.environ if variables is None else variables
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise EnvironmentFileError(f"{path}: a TOML file with one environment is expected: {error}") from error
    name = path.stem
    prefix = f"EDGE_{name.upper().replace('-', '_')}"
    given = {"name", "account", "region"} & document.keys()
    if given:
        raise EnvironmentFileError(
            f"{path}: {', '.join(sorted(given))}: not set here: the name is the file's, account and region come from "
            f"{prefix}_ACCOUNT and {prefix}_REGION"
        )
    document = {
        "name": name,
        "namespace": name,
        "account": variables.get(f"{prefix}_ACCOUNT", DOCUMENTATION_ACCOUNT),
        "region": variables.get(f"{prefix}_REGION", DEFAULT_REGION),
        **document,
    }
    validate(_TYPE, document, strict=True, source=str(path))
    for key, value in (overrides or {}).items():
        _set(document, key.split("."), value, source=f"context {name}.{key}")
    # A command line has only text: "5" may stand for a number there, never in the file.
    source = f"{path} with context overrides" if overrides else str(path)
    environment = validate(_TYPE, document, strict=False, source=source)
    _check_whole(environment, path)
    return environment


def overrides_for(name: str, context: Mapping[str, Any]) -> dict[str, str]:
    """The context values that speak of environment `name`: `<name>.<key>` by dotted key."""
    return {key.removeprefix(f"{name}."): value for key, value in sorted(context.items()) if key.startswith(f"{name}.")}


def validate(type_: TypeAdapter[T], document: Mapping[str, Any], *, strict: bool, source: str) -> T:
    """A document as what it must be.

    Raises:
        EnvironmentFileError: it is not; every fault is listed.
    """
    try:
        # As JSON, so that strict mode still takes a list for a tuple.
        return type_.validate_json(json.dumps(document, default=str), strict=strict)
    except ValidationError as error:
        faults = [_describe(type_, fault, source) for fault in error.errors() if not _is_consequence(fault, error)]
        raise EnvironmentFileError("\n".join(faults)) from error


def _is_consequence(fault: Any, error: ValidationError) -> bool:
    """A list that is too short because its items are wrong: those are listed themselves."""
    length = len(fault["loc"])
    return fault["type"] == "too_short" and any(
        other["loc"][:length] == fault["loc"] and len(other["loc"]) > length for other in error.errors()
    )


def _describe(type_: TypeAdapter[Any], fault: Any, source: str) -> str:
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
        known = _known_keys(type_, fault["loc"][:-1])
        return f"{source}: {key}: no such key; known here are {', '.join(known)}; write one of those, or remove it"
    if fault["type"] in {"missing", "missing_argument", "missing_keyword_only_argument"}:
        return f"{source}: {key}: expected, but missing; add it"
    message = re.sub(r"^(Value error, |(Input|String)(?= should))", "", fault["msg"]).strip()
    return f"{source}: {key}: {message}; got {fault['input']!r}{_REMEDIES.get(fault['type'], '')}"


def _known_keys(type_: TypeAdapter[Any], location: tuple[Any, ...]) -> list[str]:
    schema = type_.json_schema()
    node = schema
    for part in location:
        node = node["items"] if isinstance(part, int) else node["properties"][part]
        # A table that may be absent is one of two: itself, or null.
        choices = [node, *node.get("anyOf", [])]
        reference = next((choice["$ref"] for choice in choices if "$ref" in choice), None)
        if reference is not None:
            node = schema["$defs"][reference.rpartition("/")[2]]
    return sorted(node["properties"])


def _set(document: dict[str, Any], keys: list[str], value: str, *, source: str) -> None:
    *folders, last = keys
    for folder in folders:
        document = document.setdefault(folder, {})
        if not isinstance(document, dict):
            raise EnvironmentFileError(f"{source}: {folder} is a single value, not a table with keys")
    if isinstance(value, str) and value[:1] in {"[", "{"}:
        try:
            document[last] = json.loads(value)
        except ValueError as error:
            raise EnvironmentFileError(
                f"{source}: a list or table is written as JSON, got {value!r}: {error}"
            ) from error
    else:
        document[last] = value


def _check_whole(environment: Environment, path: Path) -> None:
    names = environment.devices
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise EnvironmentFileError(f"{path}: devices: {', '.join(twice)} stands twice; a device has one entry")
    _check_canaries(environment, path)
    if too_long := [name for name in environment.thing_names if len(name) > 63]:  # noqa: PLR2004 -- §1.7
        raise EnvironmentFileError(
            f"{path}: devices: thing name {too_long[0]!r} has more than 63 characters; shorten device or namespace"
        )
    if twice := sorted({key for key in environment.signing.keys if environment.signing.keys.count(key) > 1}):
        raise EnvironmentFileError(f"{path}: signing.keys: {', '.join(twice)} stands twice; a key has one entry")
    _check_mode(environment, path)
    _check_artifacts(environment.artifacts, path)
    _check_deferral(environment, path)
    capture = environment.capture
    if capture.batch_size >= capture.buffer_size:
        raise EnvironmentFileError(
            f"{path}: capture.batch_size {capture.batch_size} must be below "
            f"capture.buffer_size {capture.buffer_size}, or no batch ever fills"
        )
    _check_alarms(environment, path)


def _check_alarms(environment: Environment, path: Path) -> None:
    alarms, seconds = environment.alarms, environment.heartbeat.period_seconds
    for key, minutes in (("silent_minutes", alarms.silent_minutes), ("window_minutes", alarms.window_minutes)):
        if minutes * 60 < 2 * seconds:
            raise EnvironmentFileError(
                f"{path}: alarms.{key}: at least two periods of heartbeat.period_seconds {seconds} are expected, got "
                f"{minutes} minutes: a healthy device would be missed; allow more, or let devices speak more often"
            )


def _check_canaries(environment: Environment, path: Path) -> None:
    names = environment.canaries
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise EnvironmentFileError(f"{path}: canaries: {', '.join(twice)} stands twice; a device has one entry")
    if unknown := [name for name in names if name not in environment.devices]:
        raise EnvironmentFileError(
            f"{path}: canaries: devices of this environment are expected, got {', '.join(unknown)}: "
            "name it in devices too, or choose another one"
        )
    if names and not environment.fleet_things:
        raise EnvironmentFileError(
            f"{path}: canaries: at least one of devices is expected to be none, got all of them: "
            "leave canaries out where nothing comes after them"
        )


def _check_artifacts(artifacts: Artifacts, path: Path) -> None:
    for key, values in (("architectures", artifacts.architectures), ("pythons", artifacts.pythons)):
        if twice := sorted({value for value in values if values.count(value) > 1}):
            raise EnvironmentFileError(f"{path}: artifacts.{key}: {', '.join(twice)} stands twice; name it once")
    if artifacts.wheels and not artifacts.pythons:
        raise EnvironmentFileError(
            f"{path}: artifacts.pythons: with wheels = true the versions of the devices' python3 are expected, got "
            'none: name them, as in pythons = ["3.11"]'
        )


def _check_deferral(environment: Environment, path: Path) -> None:
    rollout = environment.rollout
    if rollout.update_action == "SKIP_NOTIFY_COMPONENTS":
        return
    components = {"inference": environment.inference, "detection": environment.detection}
    for table, settings in components.items():
        if settings is not None and settings.defer_update_seconds >= rollout.in_progress_minutes * 60:
            raise EnvironmentFileError(
                f"{path}: {table}.defer_update_seconds: less than rollout.in_progress_minutes "
                f"{rollout.in_progress_minutes} is expected, got {settings.defer_update_seconds} seconds: a device "
                "that puts an update off would count as timed out; defer for less, or wait for longer"
            )


def _check_mode(environment: Environment, path: Path) -> None:
    compilation = environment.compilation
    if compilation is not None and compilation.data_input_config is not None and environment.detection is not None:
        raise EnvironmentFileError(
            f"{path}: compilation.data_input_config: none is expected with a table [detection], as one shape does not "
            "fit two models: leave it out, and each model's folder tells it"
        )
    if environment.edge_manager == "open":
        if environment.agent.deployment_enable:
            raise EnvironmentFileError(
                f'{path}: agent.deployment_enable: false is expected with edge_manager = "open", got true: the service '
                "behind it is gone, and models are deployed as Greengrass components"
            )
        if environment.packaging.platform_os == "Windows":
            raise EnvironmentFileError(
                f'{path}: packaging.platform_os: "Linux" is expected with edge_manager = "open", got "Windows": our '
                "agent's recipe is for Linux; leave the platform out, or write Linux"
            )
        if environment.packaging.resource_key:
            raise EnvironmentFileError(
                f'{path}: packaging.resource_key: none is expected with edge_manager = "open", got '
                f"{environment.packaging.resource_key}: it encrypts the volume of SageMaker's job, and ours has none; "
                "remove it (packaging.kms_key_id encrypts the packages)"
            )
        return
    if not environment.acknowledge_discontinued:
        raise EnvironmentFileError(
            f'{path}: edge_manager = "sagemaker": {DISCONTINUED}, so nothing of it can be deployed any more: use '
            'edge_manager = "open", which serves the same clients; to synthesise it all the same, as a reference, set '
            "acknowledge_discontinued = true"
        )
    if environment.region not in SAGEMAKER_REGIONS:
        raise EnvironmentFileError(
            f'{path}: edge_manager = "sagemaker": a region of Edge Manager is expected, one of '
            f"{', '.join(SAGEMAKER_REGIONS)}; got {environment.region}"
        )
    if compilation is None:
        raise EnvironmentFileError(
            f'{path}: edge_manager = "sagemaker": a table [compilation] is expected, got none: Edge Manager packaged '
            "what SageMaker Neo had compiled"
        )
    if environment.agent.deployment_enable and not environment.agent.db_enable:
        raise EnvironmentFileError(f"{path}: agent.deployment_enable needs agent.db_enable = true (specification §2.2)")


def check_together(environments: Sequence[Environment]) -> None:
    """Refuse environments that would overwrite each other.

    Raises:
        EnvironmentFileError: two of them have the same account, region and namespace.
    """
    seen: dict[tuple[str, str, str], str] = {}
    for environment in environments:
        place = (environment.account, environment.region, environment.namespace)
        if other := seen.get(place):
            raise EnvironmentFileError(
                f"{other} and {environment.name}: both are namespace {environment.namespace!r} of account "
                f"{environment.account} in {environment.region}: give one another namespace, or another account "
                f"(EDGE_{environment.name.upper().replace('-', '_')}_ACCOUNT)"
            )
        seen[place] = environment.name
