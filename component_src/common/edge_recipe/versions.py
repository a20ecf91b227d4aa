# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from typing import TYPE_CHECKING

import semantic_version

if TYPE_CHECKING:
    from collections.abc import Iterable

VERSION_PATTERN = re.compile(r"(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})")
"""``x.y.z`` with numbers up to 999999: what the service accepts and both nuclei compare alike."""

MAX_VERSION_LENGTH = 64


class VersionRange:
    """An npm-style range of component versions, as in ``VersionRequirement``: ``^1.2.0``, ``>=2.0.0 <3.0.0``.

    Raises:
        ValueError: the text is not such a range.
    """

    def __init__(self, text: str) -> None:
        try:
            self._spec = semantic_version.NpmSpec(text.strip())
        except ValueError:
            raise ValueError(
                f"{text!r} is not a version range; expected npm's notation, such as '^1.2.0' or '>=2.0.0 <3.0.0'"
            ) from None
        self.text = text

    def __contains__(self, version: str) -> bool:
        return bool(self._spec.match(semantic_version.Version(version)))

    def __repr__(self) -> str:
        return f"VersionRange({self.text!r})"


def is_version(text: str) -> bool:
    """Tell whether a text is a semantic version, pre-release and build included."""
    return bool(semantic_version.validate(text))


def satisfies(requirement: str, version: str) -> bool:
    """Tell whether a version lies in an npm-style range.

    Raises:
        ValueError: one of the two is malformed.
    """
    return version in VersionRange(requirement)


def newest(versions: Iterable[str], requirements: Iterable[str]) -> str | None:
    """Give the highest version that lies in every one of the ranges, or None."""
    ranges = [VersionRange(requirement) for requirement in requirements]
    fitting = [version for version in versions if all(version in range_ for range_ in ranges)]
    return max(fitting, key=semantic_version.Version, default=None)
