# SPDX-License-Identifier: Apache-2.0
"""The agent's process: from its configuration to its end."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent import log, server, settings, unix_socket
from edge_agent.admission import Admission
from edge_agent.agent import Agent
from edge_agent.captures.pipeline import Pipeline
from edge_agent.captures.spool import Spool
from edge_agent.files import make_directory
from edge_agent.models import ModelRegistry
from edge_agent.service import Service
from edge_agent.shared_memory import Segments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_agent.settings import Settings

_LOG = logging.getLogger(__name__)
# Together below the ten seconds that a nucleus or a supervisor may be counting.
_CALLS_SECONDS = 3.0
_FLUSH_SECONDS = 5.0
_LEAST_HISTORY = 1000
_HISTORY_PER_BUFFER = 10


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="edge-agent",
        description="Loads models, predicts and captures for the processes of this device, over gRPC on a unix socket.",
        epilog="Without --config, the component's configuration is asked from the Greengrass nucleus over IPC.",
    )
    parser.add_argument(
        "-c", "--config", type=Path, metavar="FILE.json", help="parameters, as in the component's recipe"
    )
    parser.add_argument("-a", "--socket", metavar="PATH", help="the socket; wins over the parameter UnixSocketName")
    return parser.parse_args(arguments)


def read_settings(arguments: argparse.Namespace) -> Settings:
    """Find and check the parameters.

    Raises:
        SettingsError: They cannot be read, or one is not what it must be.
    """
    if arguments.config is not None:
        values = settings.load_file(arguments.config)
    elif settings.on_greengrass(os.environ):
        from edge_agent import nucleus  # noqa: PLC0415 # off a nucleus its native libraries need not load

        values = nucleus.get_configuration()
    else:
        raise settings.SettingsError(
            "configuration: expected a Greengrass nucleus around this process, or --config FILE"
        )
    if arguments.socket is not None:
        values["UnixSocketName"] = arguments.socket
    parsed = settings.parse(values, device_name=settings.device_name_from(os.environ), work=Path.cwd())
    for event, names in (
        ("parameters_unknown", settings.unknown(values)),
        ("parameters_without_effect", settings.without_effect(values)),
    ):
        if names:
            _LOG.warning(event, extra={"fields": {"names": names}})
    return parsed


def run(parameters: Settings, *, stop: threading.Event) -> None:
    """Serve until ``stop`` is set, then finish what runs and flush, within bounds.

    Raises:
        OccupiedError: The socket or the spool is held by another process.
    """
    path = parameters.unix_socket_name
    unix_socket.check_length(path)
    spool_root = parameters.local_data_root_path / "spool"
    make_directory(spool_root)
    with contextlib.ExitStack() as held:
        lock = path.with_name(path.name + ".lock")
        held.enter_context(unix_socket.exclusive(lock, what=f"UnixSocketName: {path}"))
        held.enter_context(unix_socket.exclusive(spool_root / "lock", what=f"LocalDataRootPath: {spool_root}"))
        unix_socket.claim(path)
        spool = Spool(
            spool_root,
            max_pending=parameters.capture_data_buffer_size,
            max_bytes=parameters.capture_spool_max_bytes,
            max_history=max(_LEAST_HISTORY, _HISTORY_PER_BUFFER * parameters.capture_data_buffer_size),
        )
        pipeline = Pipeline(spool, parameters)
        models = ModelRegistry(work=Path.cwd(), max_models=parameters.max_models, threads=parameters.inference_threads)
        running, waiting = parameters.max_concurrent_predictions, parameters.max_queued_predictions
        agent = Agent(
            models=models, spool=spool, admission=Admission(running=running, waiting=waiting), segments=Segments()
        )
        grpc_server = server.make_server(
            Service(agent), max_message_bytes=parameters.max_message_bytes, max_predictions=running + waiting
        )
        unix_socket.bind(grpc_server, path, mode=parameters.unix_socket_mode, group=parameters.unix_socket_group)
        pipeline.start()
        grpc_server.start()
        _LOG.info(
            "agent_ready",
            extra={"fields": {"socket": str(path), "device": parameters.device_name, "spool": str(spool_root)}},
        )
        stop.wait()
        started = time.monotonic()
        _LOG.info("agent_stopping")
        grpc_server.stop(grace=_CALLS_SECONDS).wait()
        pipeline.stop(_FLUSH_SECONDS)
        path.unlink(missing_ok=True)
        _LOG.info("agent_stopped", extra={"fields": {"seconds": round(time.monotonic() - started, 3)}})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the agent until a signal ends it; 0 after SIGTERM, 1 when it could not start."""
    parsed = parse_arguments(arguments)
    log.configure(verbose=False)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    try:
        parameters = read_settings(parsed)
        log.configure(verbose=parameters.verbose)
        run(parameters, stop=stop)
    except (settings.SettingsError, unix_socket.OccupiedError, OSError) as error:
        _LOG.error("agent_refused", extra={"fields": {"error": str(error)}})  # no defect: no traceback
        return 1
    return 0


def entry() -> None:
    """Run the agent and end the process, also when a prediction that nobody waits for any more still runs."""
    code = 1
    try:
        code = main()
    except SystemExit as error:  # argparse has said why
        code = error.code if isinstance(error.code, int) else 1
    except Exception:  # noqa: BLE001 # the last stop: it is logged as a line like any other
        log.log_defect(_LOG, where="main")
    finally:
        sys.stdout.flush()
        os._exit(code)
