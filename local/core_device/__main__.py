# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

# The recipe model is shared with the devices and the CDK app, and lies in its own source root.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "component_src" / "common"))

from local.core_device.boto_cloud import BotoCloud
from local.core_device.device import CoreDevice, RootInUseError
from local.core_device.log import log_to_stdout
from local.core_device.options import Options

_LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})


def main(arguments: list[str] | None = None) -> int:
    """Run a core device until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        prog="python -m local.core_device",
        description="A Greengrass core device on this machine. AWS keys and the local AWS's AWS_ENDPOINT_URL come from "
        "the environment.",
    )
    parser.add_argument("--thing-name", required=True, help="the device's thing, such as dev-device-1")
    parser.add_argument("--root", required=True, type=Path, help="folder of the device; made if it is not there")
    parser.add_argument("--role-alias", required=True, help="role alias of the device role, such as SageMakerEdge-dev")
    parser.add_argument("--iot-policy", required=True, help="AWS IoT policy of the device's certificate")
    parser.add_argument("--region", default=os.environ.get("AWS_REGION", "us-east-1"), help="default: AWS_REGION")
    parser.add_argument("--poll-seconds", type=float, default=Options.poll_seconds, help="between looks at the cloud")
    parser.add_argument(
        "--settle-seconds",
        type=float,
        default=Options.settle_seconds,
        help="how long all components must stay up before a deployment has succeeded",
    )
    parser.add_argument(
        "--error-window-seconds",
        type=float,
        default=Options.error_window_seconds,
        help="a third crash within it makes a component BROKEN (default: an hour, as on a device)",
    )
    parser.add_argument(
        "--component-updates",
        action="store_true",
        help="ask components before an update, as the classic nucleus does; lite, the default here, cannot",
    )
    given = parser.parse_args(arguments)
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
    if urlsplit(endpoint).hostname not in _LOCAL_HOSTS:
        parser.error(
            f"AWS_ENDPOINT_URL is {endpoint or 'not set'}; expected the embedded AWS on this machine, such as "
            "http://127.0.0.1:4566: this device stays away from real accounts"
        )
    options = Options(
        thing_name=given.thing_name,
        root=given.root.resolve(),
        region=given.region,
        role_alias=given.role_alias,
        iot_policy=given.iot_policy,
        poll_seconds=given.poll_seconds,
        settle_seconds=given.settle_seconds,
        error_window_seconds=given.error_window_seconds,
        component_updates=given.component_updates,
    )
    log_to_stdout()
    try:
        asyncio.run(_run(options))
    except RootInUseError as error:
        parser.error(str(error))
    return 0


async def _run(options: Options) -> None:
    cloud = await asyncio.to_thread(
        BotoCloud, thing_name=options.thing_name, region=options.region, iot_policy=options.iot_policy
    )
    device = CoreDevice(options, cloud)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, device.stop)
    await device.run()


if __name__ == "__main__":
    sys.exit(main())
