# SPDX-License-Identifier: Apache-2.0
"""A batch: which captures go together, and everything that their keys and records depend on."""

from __future__ import annotations

import dataclasses
import json


@dataclasses.dataclass(frozen=True)
class Member:
    """A capture of a batch: its file in the spool, and its id."""

    file: str
    capture_id: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """A batch, decided once and kept until its history is forgotten.

    Attributes:
        id: 32 hex digits; the manifest's name.
        folder: Where its files go, relative to the bucket or disk path.
        fleet: The device fleet's name.
        device: The device's name.
        embed_limit: Longest payload inside a record, bytes.
        members: The captures in the order of their records.
        lost: Ids of members that did not arrive and never will; known only when everything else arrived.
    """

    id: str
    folder: str
    fleet: str
    device: str
    embed_limit: int
    members: tuple[Member, ...]
    lost: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The manifest's key."""
        return f"{self.folder}/{self.id}.jsonl"

    def encode(self) -> bytes:
        """Write the plan for the spool."""
        return json.dumps(dataclasses.asdict(self)).encode()

    @classmethod
    def decode(cls, content: bytes) -> Plan:
        """Read a plan from the spool.

        Raises:
            ValueError: The file is damaged.
        """
        try:
            values = json.loads(content)
            members = tuple(Member(**member) for member in values.pop("members"))
            return cls(members=members, lost=tuple(values.pop("lost", ())), **values)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"expected a batch plan, got {content[:80]!r}: {error}") from None
