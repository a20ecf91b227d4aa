# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """A value that differs: where it stands, and what it was and is as text; None where there was or is nothing.

    Of a list, with `items`, what it lost and what it gained.
    """

    path: tuple[str, ...]
    before: str | None
    after: str | None
    items: bool = False

    @property
    def name(self) -> str:
        """The path with dots."""
        return ".".join(self.path)


def differing(before: Any, after: Any, path: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """Every leaf of two JSON values that differs, in order; lists of plain values by what they lost and gained."""
    if before == after:
        return
    # What is whole on one side only is told of by its leaves as well.
    former, latter = _empty(before, after), _empty(after, before)
    if isinstance(former, Mapping) and isinstance(latter, Mapping):
        before, after = former, latter
        for key in dict.fromkeys([*before, *after]):
            yield from differing(before.get(key), after.get(key), (*path, str(key)))
    elif isinstance(before, list) and isinstance(after, list) and not _plain([*before, *after]):
        for number, (former, latter) in enumerate(itertools.zip_longest(before, after)):
            yield from differing(former, latter, (*path, str(number)))
    elif isinstance(before or [], list) and isinstance(after or [], list) and (before or after):
        before, after = before or [], after or []
        gone, come = [item for item in before if item not in after], [item for item in after if item not in before]
        if gone or come:
            yield Leaf(path=path, before=_list(gone), after=_list(come), items=True)
        else:
            yield Leaf(path=path, before=text(before), after=text(after))  # another order, or twice
    else:
        yield Leaf(path=path, before=text(before), after=text(after))


def text(value: Any) -> str | None:
    """A value on one line; references as `<id.attribute>`."""
    if value is None:
        return None
    if isinstance(value, Mapping) and value.keys() == {"Ref"}:
        shown = f"<{value['Ref']}>"
    elif isinstance(value, Mapping) and value.keys() == {"Fn::GetAtt"}:
        shown = f"<{'.'.join(value['Fn::GetAtt'])}>"
    elif isinstance(value, str):
        shown = value or '""'
    else:
        shown = json.dumps(value, ensure_ascii=False)
    return " ".join(shown.split())


def _plain(items: list[Any]) -> bool:
    return all(not isinstance(item, (dict, list)) for item in items)


def _list(items: list[Any]) -> str | None:
    return ", ".join(str(text(item)) for item in items) or None


def _empty(value: Any, other: Any) -> Any:
    """Nothing, as an empty mapping where the other side is a mapping that is not."""
    return {} if value is None and isinstance(other, Mapping) and other and not _is_reference(other) else value


def _is_reference(value: Mapping[str, Any]) -> bool:
    return len(value) == 1 and next(iter(value)).startswith(("Ref", "Fn::"))
