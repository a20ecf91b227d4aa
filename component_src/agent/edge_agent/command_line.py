# SPDX-License-Identifier: Apache-2.0
"""The command line, and the parameters that it leads to."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from edge_agent import settings
from edge_agent.agent_file import read_agent_file
from edge_agent.parameter_reader import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edge_agent.settings import Settings

_LOG = logging.getLogger(__name__)
_DESCRIPTION = "Loads models, predicts and captures for the processes of this device, over gRPC on a unix socket."
_EPILOG = "Without --config, the component's configuration is asked from the Greengrass nucleus over IPC."


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="edge-agent", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument(
        "command",
        nargs="?",
        choices=("run", "doctor"),
        default="run",
        help="run (the default): serve; doctor: tell what a run would find here, and change nothing",
    )
    parser.add_argument(
        "-c",
        "--config",
        type=Path,
        metavar="FILE.json",
        help="sagemaker_edge_* keys, or parameters as in the component's recipe",
    )
    parser.add_argument("-a", "--socket", metavar="PATH", help="the socket; wins over the parameter UnixSocketName")
    parser.add_argument(
        "-m", "--max-message-bytes", metavar="BYTES", help="longest message; wins over the parameter MaxMessageBytes"
    )
    parser.add_argument(
        "-f",
        "--force",
        action="store_true",
        help="for scripts of AWS's agent; a dead agent's socket is replaced in any case, a living one's never",
    )
    return parser.parse_args(arguments)


def read_settings(
    arguments: argparse.Namespace, *, ask_nucleus: Callable[[], dict[str, object]], environment: Mapping[str, str]
) -> Settings:
    """Find and check the parameters.

    Args:
        arguments: The command line.
        ask_nucleus: Gives the component's configuration.
        environment: Of this process.

    Raises:
        SettingsError: They cannot be read, or one is not what it must be.
    """
    device_name, region, credentials, ignored = environment.get("AWS_IOT_THING_NAME", ""), "", None, []
    if arguments.config is not None:
        file = read_agent_file(arguments.config)
        values, region, credentials, ignored = file.values, file.region, file.credentials, file.ignored
        device_name = file.device_name or device_name
    elif settings.on_greengrass(environment):
        try:
            values = ask_nucleus()
        except OSError as error:
            raise SettingsError(f"configuration: the nucleus did not give it: {error}") from None
    else:
        raise SettingsError("configuration: expected a Greengrass nucleus around this process, or --config FILE")
    for name, value in (("UnixSocketName", arguments.socket), ("MaxMessageBytes", arguments.max_message_bytes)):
        if value is not None:
            values[name] = value
    parsed = settings.parse(
        values, device_name=device_name, work=Path.cwd(), region=region, iot_credentials=credentials
    )
    for event, names in (
        ("parameters_unknown", settings.unknown(values)),
        ("parameters_without_effect", [*settings.without_effect(values), *ignored]),
    ):
        if names:
            _LOG.warning(event, extra={"fields": {"names": names}})
    return parsed
