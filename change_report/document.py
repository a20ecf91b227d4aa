# SPDX-License-Identifier: Apache-2.0
"""A report as blocks, which every format shows in its own way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Tone = Literal["plain", "bad", "good", "soft"]


@dataclass(frozen=True, kw_only=True)
class Heading:
    """A title of level 2 or 3."""

    text: str
    level: Literal[2, 3] = 2


@dataclass(frozen=True, kw_only=True)
class Paragraph:
    """A text."""

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True, kw_only=True)
class Item:
    """A line of a list, and lines below it."""

    text: str
    tone: Tone = "plain"
    below: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Bullets:
    """A list."""

    items: tuple[Item, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows below columns; `numbers` are the columns that hold figures."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int] = frozenset()


Block = Heading | Paragraph | Bullets | Table


@dataclass(frozen=True, kw_only=True)
class Document:
    """What is shown: the title, the verdict in a word with its tone, one paragraph, and the rest."""

    title: str
    verdict: str
    tone: Tone
    summary: str
    blocks: tuple[Block, ...]
