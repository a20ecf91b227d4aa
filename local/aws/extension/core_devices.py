# SPDX-License-Identifier: Apache-2.0
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from local.aws.extension.errors import ApiError, not_found
from local.aws.extension.world import World

KIND = "core device"
STATUSES = ("HEALTHY", "UNHEALTHY")


@dataclasses.dataclass
class CoreDevice:
    """A device as its nucleus last described it; ``reported`` in seconds since the epoch."""

    thing: str
    status: str
    version: str
    platform: str
    architecture: str
    runtime: str
    reported: float
    components: dict[str, Mapping[str, Any]]


class CoreDevices:
    """The core devices of one account and region: a thing becomes one with its first fleet status message."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._devices: dict[str, CoreDevice] = {}

    def all(self) -> Sequence[CoreDevice]:
        """Every core device, by thing name."""
        return [self._devices[name] for name in sorted(self._devices)]

    def get(self, thing: str) -> CoreDevice:
        """The device; ``ResourceNotFoundException`` before its first message."""
        if thing not in self._devices:
            raise not_found(KIND, thing)
        return self._devices[thing]

    def delete(self, thing: str) -> None:
        """Forgets a device until it reports again; its thing stays."""
        self.get(thing)
        del self._devices[thing]

    def report(self, *, thing: str, message: Mapping[str, Any]) -> None:
        """Takes a fleet status message; one of ``messageType`` PARTIAL changes only the components that it names.

        Raises:
            ApiError: ``InvalidRequestException`` naming the member that is missing or wrong;
                ``ResourceNotFoundException`` for an unknown thing.
        """
        if self._world.targets_of(thing) is None:
            raise not_found("thing", thing)
        _expect(message, "thing", lambda value: value == thing, f"{thing!r}, the thing of the topic")
        _expect(message, "ggcVersion", lambda value: isinstance(value, str), "the nucleus version")
        _expect(message, "platform", lambda value: isinstance(value, str), "an operating system")
        _expect(message, "architecture", lambda value: isinstance(value, str), "a processor architecture")
        _expect(message, "overallDeviceStatus", lambda value: value in STATUSES, " or ".join(STATUSES))
        _expect(
            message, "components", _are_components, "a list of objects with componentName, componentVersion, status"
        )
        components = {component["componentName"]: component for component in message["components"]}
        if message.get("messageType") == "PARTIAL" and thing in self._devices:
            components = {**self._devices[thing].components, **components}
        self._devices[thing] = CoreDevice(
            thing=thing,
            status=message["overallDeviceStatus"],
            version=message["ggcVersion"],
            platform=message["platform"],
            architecture=message["architecture"],
            runtime=message.get("runtime", ""),
            reported=self._world.now(),
            components=components,
        )


def _expect(message: Mapping[str, Any], key: str, accepts: Any, expected: str) -> None:
    if not accepts(message.get(key)):
        raise ApiError(
            "InvalidRequestException",
            f"{key} of the fleet status message is {message.get(key)!r}, expected {expected}",
        )


def _are_components(value: object) -> bool:
    keys = ("componentName", "componentVersion", "status")
    return isinstance(value, list) and all(
        isinstance(item, dict) and all(isinstance(item.get(key), str) for key in keys) for item in value
    )
