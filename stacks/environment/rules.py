# SPDX-License-Identifier: Apache-2.0
"""What must hold between the keys of an environment, beyond each one's type, and between environments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from stacks.environment.settings import Environment
from stacks.environment.tables import Alarms, Artifacts, Heartbeat
from stacks.settings_file import EnvironmentFileError, repeated

DISCONTINUED = "AWS discontinued SageMaker Edge Manager on 26 April 2024"
# Where it was: specification §1.14.
SAGEMAKER_REGIONS = ("us-east-1", "us-east-2", "us-west-2", "eu-central-1", "eu-west-1", "ap-northeast-1")


def check(environment: Environment, path: Path) -> None:
    """Refuse an environment whose keys do not go together.

    Raises:
        EnvironmentFileError: with the first of its faults.
    """
    if fault := next(_faults(environment), None):
        raise EnvironmentFileError(f"{path}: {fault}")


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


def _faults(environment: Environment) -> Iterator[str]:
    yield from _devices(environment)
    if twice := repeated(environment.signing.keys):
        yield f"signing.keys: {', '.join(twice)} stands twice; a key has one entry"
    yield from _mode(environment)
    yield from _artifacts(environment.artifacts)
    yield from _deferral(environment)
    capture = environment.capture
    if capture.batch_size >= capture.buffer_size:
        yield (
            f"capture.batch_size {capture.batch_size} must be below capture.buffer_size {capture.buffer_size}, "
            "or no batch ever fills"
        )
    yield from _alarms(environment.alarms, environment.heartbeat)


def _devices(environment: Environment) -> Iterator[str]:
    devices, canaries = environment.devices, environment.canaries
    for key, names in (("devices", devices), ("canaries", canaries)):
        if twice := repeated(names):
            yield f"{key}: {', '.join(twice)} stands twice; a device has one entry"
    if unknown := [name for name in canaries if name not in devices]:
        yield (
            f"canaries: devices of this environment are expected, got {', '.join(unknown)}: "
            "name it in devices too, or choose another one"
        )
    if canaries and not environment.fleet_things:
        yield (
            "canaries: at least one of devices is expected to be none, got all of them: "
            "leave canaries out where nothing comes after them"
        )
    if too_long := [name for name in environment.thing_names if len(name) > 63]:  # noqa: PLR2004 -- §1.7
        yield f"devices: thing name {too_long[0]!r} has more than 63 characters; shorten device or namespace"


def _mode(environment: Environment) -> Iterator[str]:
    compilation = environment.compilation
    if compilation is not None and compilation.data_input_config is not None and environment.detection is not None:
        yield (
            "compilation.data_input_config: none is expected with a table [detection], as one shape does not fit two "
            "models: leave it out, and each model's folder tells it"
        )
    yield from _open(environment) if environment.edge_manager == "open" else _sagemaker(environment)


def _open(environment: Environment) -> Iterator[str]:
    packaging = environment.packaging
    if environment.agent.deployment_enable:
        yield (
            'agent.deployment_enable: false is expected with edge_manager = "open", got true: the service behind it is '
            "gone, and models are deployed as Greengrass components"
        )
    if packaging.platform_os == "Windows":
        yield (
            'packaging.platform_os: "Linux" is expected with edge_manager = "open", got "Windows": our agent\'s recipe '
            "is for Linux; leave the platform out, or write Linux"
        )
    if packaging.resource_key:
        yield (
            'packaging.resource_key: none is expected with edge_manager = "open", got '
            f"{packaging.resource_key}: it encrypts the volume of SageMaker's job, and ours has none; "
            "remove it (packaging.kms_key_id encrypts the packages)"
        )


def _sagemaker(environment: Environment) -> Iterator[str]:
    if not environment.acknowledge_discontinued:
        yield (
            f'edge_manager = "sagemaker": {DISCONTINUED}, so nothing of it can be deployed any more: use '
            'edge_manager = "open", which serves the same clients; to synthesise it all the same, as a reference, set '
            "acknowledge_discontinued = true"
        )
    if environment.region not in SAGEMAKER_REGIONS:
        yield (
            'edge_manager = "sagemaker": a region of Edge Manager is expected, one of '
            f"{', '.join(SAGEMAKER_REGIONS)}; got {environment.region}"
        )
    if environment.compilation is None:
        yield (
            'edge_manager = "sagemaker": a table [compilation] is expected, got none: Edge Manager packaged what '
            "SageMaker Neo had compiled"
        )
    if environment.agent.parameters:
        yield (
            'agent.parameters: none are expected with edge_manager = "sagemaker", got '
            f"{', '.join(environment.agent.parameters)}: Edge Manager's agent has none of them; remove them"
        )
    if environment.agent.deployment_enable and not environment.agent.db_enable:
        yield "agent.deployment_enable needs agent.db_enable = true (specification §2.2)"


def _artifacts(artifacts: Artifacts) -> Iterator[str]:
    for key, values in (("architectures", artifacts.architectures), ("pythons", artifacts.pythons)):
        if twice := repeated(values):
            yield f"artifacts.{key}: {', '.join(twice)} stands twice; name it once"
    if artifacts.wheels and not artifacts.pythons:
        yield (
            "artifacts.pythons: with wheels = true the versions of the devices' python3 are expected, got none: "
            'name them, as in pythons = ["3.11"]'
        )


def _deferral(environment: Environment) -> Iterator[str]:
    rollout = environment.rollout
    if rollout.update_action == "SKIP_NOTIFY_COMPONENTS":
        return
    for table, inference in (("inference", environment.inference), ("detection", environment.detection)):
        if inference is not None and inference.defer_update_seconds >= rollout.in_progress_minutes * 60:
            yield (
                f"{table}.defer_update_seconds: less than rollout.in_progress_minutes {rollout.in_progress_minutes} is "
                f"expected, got {inference.defer_update_seconds} seconds: a device that puts an update off would count "
                "as timed out; defer for less, or wait for longer"
            )


def _alarms(alarms: Alarms, heartbeat: Heartbeat) -> Iterator[str]:
    seconds = heartbeat.period_seconds
    for key, minutes in (("silent_minutes", alarms.silent_minutes), ("window_minutes", alarms.window_minutes)):
        if minutes * 60 < 2 * seconds:
            yield (
                f"alarms.{key}: at least two periods of heartbeat.period_seconds {seconds} are expected, got {minutes} "
                "minutes: a healthy device would be missed; allow more, or let devices speak more often"
            )
