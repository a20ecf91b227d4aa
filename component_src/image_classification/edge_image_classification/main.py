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

from edge_image_classification import log
from edge_image_classification.component import Component
from edge_image_classification.control import Control
from edge_image_classification.errors import ConfigurationError
from edge_image_classification.nucleus import GreengrassNucleus, NucleusError

if TYPE_CHECKING:
    from edge_image_classification.nucleus import Nucleus

# Nuclei kill 15 s after SIGTERM. Until then an image that hangs at the agent may end.
_STOP_SECONDS = 12.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def _stop_on_signal(control: Control) -> None:
    """Wait for a signal in a thread of its own: no handler interrupts a lock that it would need."""
    number = signal.sigwait(_SIGNALS)
    log.info("component_stopping", signal=signal.Signals(number).name)
    control.stop()
    time.sleep(_STOP_SECONDS)
    log.error("component_stopped_by_force", seconds=_STOP_SECONDS)
    sys.stdout.flush()
    os._exit(0)  # the agent forgets nothing that it acknowledged


def run(nucleus_factory: Callable[[], Nucleus], *, sample_images: Path) -> int:
    """Run the component until SIGTERM or SIGINT.

    Args:
        nucleus_factory: connects to the nucleus.
        sample_images: what a blank ImageDirectory means.

    Returns:
        The exit code: 0 after a signal, 1 when it could not start.
    """
    # Before any other thread begins, the libraries' too: they inherit the mask.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    control = Control()
    threading.Thread(target=_stop_on_signal, args=(control,), name="signals", daemon=True).start()
    try:
        nucleus = nucleus_factory()
        component = Component(nucleus, control, sample_images=sample_images)
    except (ConfigurationError, NucleusError) as error:
        log.error("component_refused", error=str(error))
        return 1
    log.info("component_ready")
    component.run()
    nucleus.close()
    log.info("component_stopped")
    return 0


def entry(artifact: Path) -> None:
    """Run as the process that it is: what is left of threads does not keep it alive.

    Args:
        artifact: the directory of the unpacked artifact.
    """
    code = 1
    try:
        code = run(GreengrassNucleus, sample_images=artifact / "sample_images")
    except Exception as error:  # noqa: BLE001 # the last stop: it is logged as a line like any other
        log.error("internal_error", error=repr(error), traceback=traceback.format_exc())
    finally:
        sys.stdout.flush()
        os._exit(code)
