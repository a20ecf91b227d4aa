# SPDX-License-Identifier: Apache-2.0
"""The agent's process: from its configuration to its end."""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import time
from typing import TYPE_CHECKING

from edge_agent import log, settings, unix_socket
from edge_agent.application import Application
from edge_agent.command_line import parse_arguments, read_settings
from edge_agent.parameter_reader import SettingsError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from edge_agent.nucleus import Nucleus

_LOG = logging.getLogger(__name__)
_STOP, _CONFIGURATION = "stop", "configuration"
#: Ends the process so that whoever started it starts it again, with the configuration of then.
EXIT_RESTART = 75
_WATCH_SECONDS = 2.0
_SETTLE_SECONDS = 0.3  # a nucleus tells of a deployment key by key


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the agent until a signal ends it.

    Returns:
        0 after SIGTERM, SIGINT or SIGHUP; 1 when it could not start; ``EXIT_RESTART`` when a changed parameter needs a
        new process.
    """
    parsed = parse_arguments(arguments)
    log.configure(verbose=False)
    if parsed.command == "doctor":
        from edge_agent import doctor  # noqa: PLC0415 # a run has no use for it

        return doctor.main(parsed)
    words: queue.SimpleQueue[str] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # AWS's systemd unit sends the last
        signal.signal(number, lambda *_: words.put(_STOP))
    signal.signal(signal.SIGUSR1, lambda *_: words.put(_CONFIGURATION))
    nucleus = _nucleus(words)
    try:
        return _run(parsed, words, nucleus)
    except (SettingsError, unix_socket.OccupiedError, OSError) as error:
        _LOG.error("agent_refused", extra={"fields": {"error": str(error)}})  # no defect: no traceback
        return 1
    finally:
        if nucleus is not None:
            nucleus.close()


def _nucleus(words: queue.SimpleQueue[str]) -> Nucleus | None:
    if not settings.on_greengrass(os.environ):
        return None
    from edge_agent.nucleus import Nucleus  # noqa: PLC0415 # off a nucleus its native libraries need not load

    return Nucleus(on_change=lambda: words.put(_CONFIGURATION))


def _run(arguments: argparse.Namespace, words: queue.SimpleQueue[str], nucleus: Nucleus | None) -> int:
    def read() -> settings.Settings:
        return read_settings(
            arguments, ask_nucleus=nucleus.get_configuration if nucleus else dict, environment=os.environ
        )

    parameters = read()
    log.configure(verbose=parameters.verbose)
    application = Application(parameters, publish=nucleus.publish if nucleus else None)
    application.start()
    try:
        if nucleus is not None and arguments.config is None:
            nucleus.watch()
        while True:
            try:
                word = words.get(timeout=_WATCH_SECONDS)
            except queue.Empty:
                application.keep_socket()
                continue
            if word == _STOP or _settled(words):
                return 0
            try:
                needs_restart = application.apply(read())
            except SettingsError as error:
                # What ran so far goes on: a mistake in a deployment must not take inference down.
                _LOG.error("configuration_refused", extra={"fields": {"error": str(error)}})
                continue
            if needs_restart:
                _LOG.warning("restart_needed", extra={"fields": {"parameters": needs_restart}})
                return EXIT_RESTART
    finally:
        application.stop()


def _settled(words: queue.SimpleQueue[str]) -> bool:
    """Wait until the configuration has not been changed for a moment; true when the agent shall stop instead."""
    time.sleep(_SETTLE_SECONDS)
    while not words.empty():
        if words.get() == _STOP:
            return True
    return False


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
