# SPDX-License-Identifier: Apache-2.0
"""The pipe between the embedded AWS and the process that started it.

One JSON object a line. The starter writes ``{"command": name}`` and reads ``{"done": name}`` or ``{"error": text}``.
When the starter goes away, however it ends, the pipe closes and the embedded AWS goes too.
"""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import TextIO

GRACE_SECONDS = 5.0


def obey(commands: TextIO, answers: TextIO, actions: Mapping[str, Callable[[], None]]) -> None:
    """Carries out commands on a thread of its own until the pipe closes, then ends this process and its group."""
    thread = threading.Thread(target=_obey, args=(commands, answers, actions), name="control", daemon=True)
    thread.start()


def _obey(commands: TextIO, answers: TextIO, actions: Mapping[str, Callable[[], None]]) -> None:
    try:
        for line in commands:
            answers.write(json.dumps(_answer(line, actions)) + "\n")
            answers.flush()
    finally:
        _end()


def _answer(line: str, actions: Mapping[str, Callable[[], None]]) -> Mapping[str, str]:
    try:
        name = json.loads(line)["command"]
        action = actions[name]
    except (ValueError, KeyError, TypeError):
        return {"error": f"no such command: {line.strip()}; there are {', '.join(sorted(actions))}"}
    action()
    return {"done": name}


def _end() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    if os.getpgrp() == os.getpid():  # else the group is a shell's, which started this by hand
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
