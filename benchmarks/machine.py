# SPDX-License-Identifier: Apache-2.0
"""What it was measured on, and how much memory and disk things take; read from /proc."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_PACKAGES = ("grpcio", "numpy", "onnxruntime", "protobuf")
# Runs in another environment: the files of some packages and of what they require, extras left out.
_SIZE_PROGRAM = """
import importlib.metadata as m, json, re, sys
seen, todo, size = set(), list(json.loads(sys.argv[1])), 0
while todo:
    name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
    if name in seen: continue
    try: found = m.distribution(name)
    except m.PackageNotFoundError: continue
    seen.add(name)
    size += sum(f.locate().stat().st_size for f in found.files or () if f.locate().is_file())
    todo += [re.match(r"[A-Za-z0-9._-]+", r)[0] for r in found.requires or () if "extra ==" not in r]
print(size)
"""


def describe() -> dict[str, Any]:
    """The machine and the versions that matter."""
    cpu = _field(Path("/proc/cpuinfo"), "model name") or platform.processor() or platform.machine()
    memory = _field(Path("/proc/meminfo"), "MemTotal").split()
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_mb": int(memory[0]) // 1024 if memory else None,
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def installed_mb(python: Path, packages: Sequence[str]) -> float:
    """Megabytes of packages and what they require, in an environment."""
    done = subprocess.run(  # noqa: S603 # the project's own program
        [str(python), "-c", _SIZE_PROGRAM, json.dumps(list(packages))], check=True, capture_output=True, timeout=120
    )
    return int(done.stdout) / 1e6


def resident_mb(pid: int) -> float:
    """Megabytes in memory of a process and its descendants; what they share is counted once per process."""
    children: dict[int, list[int]] = {}
    for directory in Path("/proc").glob("[0-9]*"):
        parent = _field(directory / "status", "PPid")
        if parent:
            children.setdefault(int(parent), []).append(int(directory.name))
    total, todo = 0, [pid]
    while todo:
        one = todo.pop()
        todo += children.get(one, [])
        resident = _field(Path(f"/proc/{one}/status"), "VmRSS").split()
        total += int(resident[0]) if resident else 0
    return total / 1024


def _field(path: Path, name: str) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # it ended meanwhile
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
