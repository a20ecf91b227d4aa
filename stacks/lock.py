# SPDX-License-Identifier: Apache-2.0
"""`make lock`: give changed components, and the variants that environments make of them, their next version."""

from __future__ import annotations

import sys
from pathlib import Path

from edge_constructs.component_lock import ComponentLock
from edge_constructs.component_source import ComponentSource
from stacks.application import INPUT_ERRORS
from stacks.components import LOCK, ROOT, all_sources, load_sources
from stacks.environment import load_environment
from stacks.snapshots import FOLDERS
from stacks.variants import environment_sources


def main() -> int:
    """Write components.lock and say what changed; 1 when an environment, a model or the lock is wrong."""
    try:
        former = ComponentLock.read(LOCK)
        lock = renewed()
    except INPUT_ERRORS as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    changes = lock.changes_from(former)
    if changes:
        lock.write()
    sys.stdout.write("\n".join(changes or ["components.lock is up to date"]) + "\n")
    return 0


def renewed(root: Path = ROOT) -> ComponentLock:
    """The lock in which whatever changed has its next version; `root` is the project or another state of it."""
    return ComponentLock.read(root / LOCK.name).renewed([*all_sources(root), *_variants(root)])


def _variants(root: Path) -> list[ComponentSource]:
    sources = load_sources(root)
    folders = FOLDERS if root == ROOT else [root / folder.relative_to(ROOT) for folder in FOLDERS]
    environments = [load_environment(path) for folder in folders for path in sorted(folder.glob("*.toml"))]
    made = [source for environment in environments for source in environment_sources(environment, sources, root)]
    return [source for source in made if source.variant]


if __name__ == "__main__":
    sys.exit(main())
