# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
from typing import TextIO

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from change_report.document import Block, Bullets, Document, Heading, Paragraph, Table, Tone

WIDTH = 100
_NAME_WIDTH = 52
_STYLES: dict[Tone, str] = {"plain": "", "bad": "bold red", "good": "green", "soft": "dim"}


def render(document: Document, *, stream: TextIO | None = None) -> str:
    """The report in 100 columns; with colours where `stream`, which it is for, is a terminal."""
    colours = stream is not None and stream.isatty()
    shown = io.StringIO()
    console = Console(file=shown, width=WIDTH, force_terminal=colours, highlight=False, markup=False)
    console.print(Text(document.title, "bold"))
    console.print(Text(document.verdict, _STYLES[document.tone]))
    console.print()
    console.print(document.summary)
    for block in document.blocks:
        _block(console, block)
    return "".join(f"{line.rstrip()}\n" for line in shown.getvalue().splitlines())


def _block(console: Console, block: Block) -> None:
    if isinstance(block, Heading):
        style = "bold underline" if block.level == 2 else "bold"  # noqa: PLR2004 -- a heading's level
        console.print()
        console.print(Text(block.text, style))
    elif isinstance(block, Paragraph):
        console.print(Text(block.text, _STYLES[block.tone]))
    elif isinstance(block, Bullets):
        for item in block.items:
            _indented(console, "• ", item.text, _STYLES[item.tone], 0)
            for line in item.below:
                _indented(console, "", line, "dim", 4)
    else:
        console.print(Padding(_table(block), (0, 0, 0, 0)))


def _indented(console: Console, mark: str, text: str, style: str, by: int) -> None:
    grid = RichTable.grid(padding=0)
    grid.add_column(width=by + len(mark))
    grid.add_column(overflow="fold")
    grid.add_row(Text(" " * by + mark), Text(text, style))
    console.print(grid)


def _table(block: Table) -> RichTable:
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
    for number, column in enumerate(block.columns):
        longest = max((len(row[number]) for row in block.rows), default=0)
        # What is told of is read first: it is broken last.
        least = min(longest, _NAME_WIDTH) if number == 0 else None
        table.add_column(
            column, justify="right" if number in block.numbers else "left", overflow="fold", min_width=least
        )
    for row in block.rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
