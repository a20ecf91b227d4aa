# SPDX-License-Identifier: Apache-2.0
"""`make lock`: give changed components their next version."""

from __future__ import annotations

import sys

from edge_constructs.component_lock import ComponentLock
from stacks.components import LOCK, all_sources


def main() -> int:
    """Write components.lock and say what changed."""
    former = ComponentLock.read(LOCK)
    lock = former.renewed(all_sources())
    changes = lock.changes_from(former)
    if changes:
        lock.write()
    sys.stdout.write("\n".join(changes or ["components.lock is up to date"]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
