# SPDX-License-Identifier: Apache-2.0
"""Fuzzes one target, guided by coverage: python -m benchmarks.soak TARGET RUNS SECONDS.

Ends after so many runs or seconds, whichever comes first; with an error at the first finding, which libFuzzer writes
into the working directory. An input that takes longer than five seconds, or memory beyond its bound, is a finding too.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["edge_contract.wire", "edge_contract.tensors", "edge_agent"]):
    from benchmarks.soak import targets

_MEMORY_MB = 1024
_LONGEST = 4096


def main() -> int:
    """Run the fuzzer in a process of its own, as it ends its process and would leave its inputs behind."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("target", choices=sorted(targets.TARGETS))
    parser.add_argument("runs", type=int, help="inputs")
    parser.add_argument("seconds", type=int)
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.corpus is not None:
        _fuzz(arguments.target, runs=arguments.runs, seconds=arguments.seconds, corpus=arguments.corpus)
    print(f"{arguments.target}: {arguments.runs} inputs, at most {arguments.seconds} s ...", flush=True)  # noqa: T201
    with tempfile.TemporaryDirectory(prefix="edge-fuzz-") as corpus:
        command = [sys.executable, "-m", "benchmarks.soak", *sys.argv[1:], "--corpus", corpus]
        return subprocess.run(command, check=False).returncode  # noqa: S603 # this program


def _fuzz(target: str, *, runs: int, seconds: int, corpus: Path) -> None:
    for number, seed in enumerate(targets.seeds()[target]):
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
    atheris.Setup([target, *options, str(corpus)], targets.TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
