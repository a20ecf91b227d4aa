# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys

import pytest

_MEGABYTES = 60
# Below glibc's threshold for mappings of their own; the last block keeps it from shrinking the heap by itself.
_PROGRAM = f"""
from edge_agent.memory import give_back
from edge_agent.metrics import resident_bytes
blocks = [bytes(100_000) + b"." for _ in range({_MEGABYTES * 10})]
held = resident_bytes()
del blocks[:-1]
freed = resident_bytes()
give_back()
print(held - freed, freed - resident_bytes())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap")
def test_what_was_freed_goes_back_to_the_device() -> None:
    command = [sys.executable, "-c", _PROGRAM]
    path = {"PYTHONPATH": ":".join(sys.path)}
    answer = subprocess.run(command, env=path, capture_output=True, text=True, check=True, timeout=60).stdout
    by_itself, given_back = (int(part) / 1e6 for part in answer.split())
    assert by_itself < _MEGABYTES / 2, "the heap shrank by itself, so this shows nothing"
    assert given_back > _MEGABYTES / 2
