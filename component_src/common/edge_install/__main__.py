# SPDX-License-Identifier: Apache-2.0
"""Run as `python3 -I <artifact>/edge_install --requirements <file>` in the component's work directory.

This file alone must be understood by every Python 3, so that an old one gets a message instead of a syntax error.
"""

import os
import sys

OLDEST = (3, 9)


def refusal(version):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, D103 # Python 3.5 reads this file too
    if tuple(version[:2]) >= OLDEST:
        return None
    error = "python3 (%s) is Python %d.%d, expected %d.%d or newer: install one and let python3 mean it"
    values = (sys.executable, version[0], version[1], OLDEST[0], OLDEST[1])
    return '{"level": "ERROR", "event": "install_failed", "error": "' + error % values + '"}'


if __name__ == "__main__":
    message = refusal(sys.version_info)  # type: ignore[no-untyped-call]
    if message:
        sys.stdout.write(message + "\n")
        sys.exit(1)
    # Python put this folder on the path; the package is to be found beside it.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 # see above
    from edge_install.cli import main

    sys.exit(main(sys.argv[1:]))
