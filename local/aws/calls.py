# SPDX-License-Identifier: Apache-2.0
"""The calls that principals made of the embedded AWS, as it recorded them while it checked their permissions."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FILE_NAME = "calls.jsonl"
_ASSUMED_ROLE = ":assumed-role/"


@dataclasses.dataclass(frozen=True)
class Call:
    """One permission that was asked for; a request that needs several, such as a copy, is several calls.

    What the emulator's services do by themselves in a role's name (a state machine that invokes its function, the
    logs of a function) happens inside it and is not a call.

    Attributes:
        time: Seconds since the epoch.
        principal: ARN of the caller: the account's root, or a role's session. Empty when the caller was not known.
        service: As the request was signed for.
        action: Such as ``s3:PutObject``; None when the emulator knows no action for the request, which it lets pass.
        resource: ARN that the action was asked for on, or ``*``.
        context: Condition keys of the request to their values, beside the global ones.
        outcome: ``Allow``, ``Deny`` (by a statement), ``ImplicitDeny``, or the error code of bad credentials.
    """

    time: float
    principal: str
    service: str
    action: str | None
    resource: str
    context: Mapping[str, Any]
    outcome: str

    @property
    def allowed(self) -> bool:
        """Whether the call was let through."""
        return self.outcome == "Allow"

    @property
    def role(self) -> str | None:
        """Name of the role whose session called, or None for another principal."""
        _, separator, session = self.principal.partition(_ASSUMED_ROLE)
        return session.partition("/")[0] if separator else None


def read_calls(path: Path) -> Sequence[Call]:
    """The recorded calls in their order; a last line that is being written is left out."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [Call(**json.loads(line)) for line in lines if line.endswith("\n")]
