# SPDX-License-Identifier: Apache-2.0
"""Fuzzes one target, guided by coverage: python -m benchmarks.soak TARGET RUNS SECONDS.

Ends after so many runs or seconds, whichever comes first; with an error at the first finding, which libFuzzer writes
into the working directory. An input that takes longer than five seconds, or memory beyond its bound, is a finding too.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["edge_contract.wire", "edge_contract.tensors", "edge_agent"]):
    from benchmarks.soak import targets

_MEMORY_MB = 1024
_LONGEST = 4096


def main() -> None:
    """Run the fuzzer, which ends the process."""
    name, runs, seconds = sys.argv[1:]
    corpus = Path(tempfile.mkdtemp(prefix="edge-fuzz-"))
    for number, seed in enumerate(targets.seeds()[name]):
        (corpus / str(number)).write_bytes(seed)
    options = [
        f"-runs={runs}",
        f"-max_total_time={seconds}",
        f"-max_len={_LONGEST}",
        f"-rss_limit_mb={_MEMORY_MB}",
        "-timeout=5",
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    atheris.Setup([name, *options, str(corpus)], targets.TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
