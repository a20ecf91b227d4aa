# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from collections.abc import Iterator

from change_report.document import Block, Bullets, Document, Heading, Paragraph, Table

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~#])")
_MARKS = {"bad": "⚠️ ", "good": "", "plain": "", "soft": ""}


def render(document: Document) -> str:
    """The report for a pull request, in GitHub's Markdown."""
    parts = [f"## {_text(document.title)}", f"**{_text(document.verdict)}**", _text(document.summary)]
    parts += [part for block in document.blocks for part in _block(block)]
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, Heading):
        yield f"{'#' * (block.level + 1)} {_text(block.text)}"
    elif isinstance(block, Paragraph):
        yield _text(block.text)
    elif isinstance(block, Bullets):
        lines = []
        for item in block.items:
            lines.append(f"- {_MARKS[item.tone]}{_text(item.text)}")
            lines += [f"  - {_text(line)}" for line in item.below]
        yield "\n".join(lines)
    else:
        yield _table(block)


def _table(block: Table) -> str:
    head = f"| {' | '.join(map(_text, block.columns))} |"
    rule = "".join(f"|{'--:' if number in block.numbers else '---'}" for number in range(len(block.columns))) + "|"
    return "\n".join([head, rule, *(f"| {' | '.join(map(_text, row))} |" for row in block.rows)])


def _text(text: str) -> str:
    """A text that no character of is read as Markdown; mentions and links do not arise from names either."""
    return _SPECIAL.sub(r"\\\1", text).replace("@", "@\u2060").replace("://", ":\u2060//")
