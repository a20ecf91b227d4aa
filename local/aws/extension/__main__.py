# SPDX-License-Identifier: Apache-2.0
"""The embedded AWS: ministack with this extension. Started by ``local.aws.server``, in ministack's own environment."""

import os
import sys

from local.aws.extension import control, emulator

if __name__ == "__main__":
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what anything prints belongs in the log
    emulator.install()
    control.obey(sys.stdin, answers, {"enforce-permissions": emulator.enforce_permissions})
    emulator.serve()
