# SPDX-License-Identifier: Apache-2.0
"""The component's process: from its start to its end."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from edge_inference import log
from edge_inference.component import Component
from edge_inference.control import Control
from edge_inference.errors import ConfigurationError
from edge_inference.nucleus import GreengrassNucleus, NucleusError

if TYPE_CHECKING:
    from edge_inference.nucleus import Nucleus
    from edge_inference.task import Task

# Nuclei kill 15 s after SIGTERM. Until then an image that hangs at the agent may end.
_STOP_SECONDS = 12.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def _watch_signals(control: Control) -> None:
    """Have a signal stop the loop from a thread of its own: a Python handler could interrupt a lock that it needs."""
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    for number in _SIGNALS:
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    threading.Thread(target=_stop_when_told, args=(control, told), name="signals", daemon=True).start()


def _stop_when_told(control: Control, told: int) -> None:
    number = os.read(told, 1)[0]
    log.info("component_stopping", signal=signal.Signals(number).name)
    control.stop()
    time.sleep(_STOP_SECONDS)
    log.error("component_stopped_by_force", seconds=_STOP_SECONDS)
    sys.stdout.flush()
    os._exit(0)  # the agent forgets nothing that it acknowledged


def run(task: Task, nucleus_factory: Callable[[], Nucleus], *, sample_images: Path) -> int:
    """Run the component until SIGTERM or SIGINT.

    Args:
        task: what the component is for.
        nucleus_factory: connects to the nucleus.
        sample_images: what a blank ImageDirectory means.

    Returns:
        The exit code: 0 after a signal, 1 when it could not start.
    """
    control = Control()
    _watch_signals(control)
    try:
        nucleus = nucleus_factory()
        component = Component(task, nucleus, control, sample_images=sample_images)
    except (ConfigurationError, NucleusError) as error:
        log.error("component_refused", error=str(error))
        return 1
    log.info("component_ready")
    component.run()
    nucleus.close()
    log.info("component_stopped")
    return 0


def entry(task: Task, *, artifact: Path) -> None:
    """Run as the process that it is: what is left of threads does not keep it alive.

    Args:
        task: what the component is for.
        artifact: the directory of the unpacked artifact, with its `sample_images`.
    """
    code = 1
    try:
        code = run(task, GreengrassNucleus, sample_images=artifact / "sample_images")
    except Exception as error:  # noqa: BLE001 # the last stop: it is logged as a line like any other
        log.error("internal_error", error=repr(error), traceback=traceback.format_exc())
    finally:
        sys.stdout.flush()
        os._exit(code)
