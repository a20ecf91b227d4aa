# SPDX-License-Identifier: Apache-2.0
"""Reads parameters by name and type, and says what is wrong with them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Callable, TypeVar

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_T = TypeVar("_T")
_OPTION = re.compile(r"[A-Z][A-Z0-9_]{0,127}")
_FOLDER = re.compile(r"[A-Za-z0-9!_.*'()-]+(/[A-Za-z0-9!_.*'()-]+)*")


class SettingsError(ValueError):
    """A parameter is missing or not what it must be; the message names it, the expectation and the finding."""


class ParameterReader:
    """Reads strings, or numbers and booleans as JSON has them; a blank value stands for the default.

    Args:
        values: What is given, by name.
        defaults: Every parameter's default.
        may_be_blank: Parameters of which a blank value stands for itself.

    Every method raises ``SettingsError``.
    """

    def __init__(
        self, values: Mapping[str, object], *, defaults: Mapping[str, str], may_be_blank: Collection[str]
    ) -> None:
        self._values = values
        self._defaults = defaults
        self._may_be_blank = may_be_blank

    def text(self, name: str) -> str:
        """Any text."""
        value = self._values.get(name, self._defaults[name])
        if isinstance(value, bool):
            return str(value).lower()
        if not isinstance(value, (str, int, float)):
            raise wrong(name, "a string", value)
        text = str(value).strip()
        if "\0" in text:
            raise wrong(name, "text without a zero byte", value)
        return text if text or name in self._may_be_blank else self._defaults[name]

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """One of several words."""
        text = self.text(name)
        if text not in choices:
            raise wrong(name, " or ".join(choices), text)
        return text

    def flag(self, name: str) -> bool:
        """``true`` or ``false``."""
        text = self.text(name).lower()
        if text not in {"true", "false"}:
            raise wrong(name, "true or false", text)
        return text == "true"

    def matching(self, name: str, pattern: re.Pattern[str], expected: str, *, required: bool = True) -> str:
        """Text of a form."""
        text = self.text(name)
        if not pattern.fullmatch(text) and (text or required):
            raise wrong(name, expected, text)
        return text

    def whole(self, name: str, lowest: int, highest: int) -> int:
        """A whole number."""
        return self._number(name, int, lowest, highest, "a whole number")

    def seconds(self, name: str, *, lowest: float = 0.01) -> float:
        """A time in seconds."""
        return self._number(name, float, lowest, 366 * 86400.0, "seconds")

    def names(self, name: str, pattern: re.Pattern[str], expected: str) -> tuple[str, ...]:
        """One or more words with commas between them."""
        words = tuple(word.strip() for word in self.text(name).split(","))
        if not all(pattern.fullmatch(word) for word in words) or len(set(words)) != len(words):
            raise wrong(name, expected, self.text(name))
        return words

    def options(self, name: str) -> tuple[tuple[str, str], ...]:
        """Pairs such as ``A=1; B=2``, the names in capitals."""
        pairs = [pair.strip().partition("=") for pair in self.text(name).split(";") if pair.strip()]
        if not all(_OPTION.fullmatch(key.strip()) and separator for key, separator, _ in pairs):
            raise wrong(name, "NAME=value pairs with semicolons between them", self.text(name))
        return tuple((key.strip(), value.strip()) for key, _, value in pairs)

    def folder(self, name: str) -> str:
        """Segments of an S3 key, without slashes at the ends."""
        text = self.text(name)
        folder = text.strip("/")
        if folder and (not _FOLDER.fullmatch(folder) or {".", ".."} & set(folder.split("/"))):
            raise wrong(name, "folder names of A-Z a-z 0-9 ! _ . * ' ( ) - with slashes between them", text)
        return folder

    def mode(self, name: str) -> int:
        """Permissions in octal digits."""
        text = self.text(name)
        if not re.fullmatch(r"0?[0-7]{3}", text) or not int(text, 8) & 0o200:
            raise wrong(name, "three octal digits that let the owner write, such as 0660", text)
        return int(text, 8)

    def _number(self, name: str, kind: Callable[[str], _T], lowest: _T, highest: _T, what: str) -> _T:
        text = self.text(name)
        try:
            number = kind(text)
        except ValueError:
            raise wrong(name, what, text) from None
        if not lowest <= number <= highest:  # type: ignore[operator] # int and float; a NaN is refused too
            raise wrong(name, f"{what} from {lowest} to {highest}", text)
        return number


def wrong(name: str, expected: str, found: object) -> SettingsError:
    """Make the error for a value that is not what it must be."""
    return SettingsError(f"{name}: expected {expected}, got {found!r:.200}")
