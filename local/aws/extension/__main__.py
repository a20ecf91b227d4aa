# SPDX-License-Identifier: Apache-2.0
"""The embedded AWS: ministack with this extension. Started by ``local.aws.server``, in ministack's own environment."""

import sys
from pathlib import Path

from local.aws.extension import control, emulator
from local.aws.extension.call_log import CallLog

if __name__ == "__main__":
    with Path(sys.argv[1]).open("w", encoding="utf-8") as calls:
        emulator.install(CallLog(calls))
        control.end_with_starter(sys.stdin)
        emulator.serve()
