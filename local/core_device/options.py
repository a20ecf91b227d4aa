# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "aarch64", "arm64": "aarch64"}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What makes one core device; durations in seconds.

    Attributes:
        root: the device's root path: packages, work directories, configuration and logs lie below it.
        role_alias: of the role that the token exchange service assumes.
        iot_policy: name of the AWS IoT policy of the device's certificate.
        settle_seconds: how long every component must stay up before a deployment counts as succeeded.
        restart_seconds: wait before the first restart of a crashed component; it doubles with each.
        error_window_seconds: a third crash within it makes a component BROKEN.
        stop_seconds: from SIGTERM to SIGKILL.
        component_updates: whether components are asked before an update, as by the classic nucleus; lite cannot.
    """

    thing_name: str
    root: Path
    region: str
    role_alias: str
    iot_policy: str
    poll_seconds: float = 1.0
    settle_seconds: float = 2.0
    restart_seconds: float = 1.0
    max_errors: int = 3
    error_window_seconds: float = 3600.0
    stop_seconds: float = 15.0
    install_attempts: int = 3
    install_timeout_seconds: float = 120.0
    component_updates: bool = False

    @property
    def operating_system(self) -> str:
        """Greengrass's word for this machine's operating system."""
        return "darwin" if sys.platform == "darwin" else "linux"

    @property
    def architecture(self) -> str:
        """Greengrass's word for this machine's processor."""
        machine = platform.machine().lower()
        return _ARCHITECTURES.get(machine, machine)
