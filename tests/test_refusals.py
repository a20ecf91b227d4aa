# SPDX-License-Identifier: Apache-2.0
"""The table of refusals has no row without its test; that no row is missing or stale, each test holds itself."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs" / "refusals.md"


def test_every_row_has_its_test() -> None:
    sections = TABLE.read_text(encoding="utf-8").split("\n## ")[1:]
    assert len(sections) >= 6
    for section in sections:
        thing = section.splitlines()[0]
        (line,) = re.findall(r"^Tests: (.*)$", section, re.MULTILINE)
        sources = "".join((ROOT / name).read_text(encoding="utf-8") for name in re.findall(r"`([^`]+)`", line))
        assert f'"{thing}"' in sources, f"{thing}: run `make refusals`"
        situations = re.findall(r"^\| (.+?) \| `", section, re.MULTILINE)
        assert situations
        for situation in situations:
            assert f'"{situation}"' in sources, f"{thing}: {situation}: run `make refusals`"
