# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

from change_report.document import Block, Bullets, Document, Heading, Item, Paragraph, Table

_STYLE = Path(__file__).with_name("page.css")
# Nothing is loaded or run, whatever a name in the report may say.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def render(document: Document) -> str:
    """The report as one HTML file: no script, no network; light or dark as the reader has it."""
    title = escape(document.title)
    body = "\n".join(part for block in document.blocks for part in _block(block))
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Change report: {title}</title>\n<style>\n{_STYLE.read_text(encoding='utf-8')}</style>\n"
        f"<main>\n<h1>{title}</h1>\n"
        f'<p class="summary {document.tone}"><strong>{escape(document.verdict)}</strong> '
        f"{escape(document.summary)}</p>\n"
        f"{body}\n</main>\n</html>\n"
    )


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, Heading):
        yield f"<h{block.level}>{escape(block.text)}</h{block.level}>"
    elif isinstance(block, Paragraph):
        yield f'<p class="{block.tone}">{escape(block.text)}</p>'
    elif isinstance(block, Bullets):
        yield f"<ul>{''.join(map(_item, block.items))}</ul>"
    else:
        yield _table(block)


def _item(item: Item) -> str:
    below = "".join(f"<li>{escape(line)}</li>" for line in item.below)
    return f'<li><span class="{item.tone}">{escape(item.text)}</span>{f"<ul>{below}</ul>" if below else ""}</li>'


def _table(block: Table) -> str:
    def cells(tag: str, texts: tuple[str, ...]) -> str:
        figure = ' class="figure"'
        return "".join(
            f"<{tag}{figure if number in block.numbers else ''}>{escape(text)}</{tag}>"
            for number, text in enumerate(texts)
        )

    rows = "".join(f"<tr>{cells('td', row)}</tr>" for row in block.rows)
    head = f"<thead><tr>{cells('th', block.columns)}</tr></thead>"
    return f'<div class="scroll"><table>{head}<tbody>{rows}</tbody></table></div>'
