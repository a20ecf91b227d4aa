# SPDX-License-Identifier: Apache-2.0
"""The pipe between the embedded AWS and the process that started it: both go together."""

import os
import signal
import threading
import time
from typing import TextIO

GRACE_SECONDS = 5.0


def end_with_starter(pipe: TextIO) -> None:
    """Ends this process and its group when the pipe closes, which it does however the starter ends."""
    threading.Thread(target=_wait, args=(pipe,), name="starter", daemon=True).start()


def _wait(pipe: TextIO) -> None:
    pipe.read()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    if os.getpgrp() == os.getpid():  # else the group is a shell's, which started this by hand
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
