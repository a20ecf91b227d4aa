# SPDX-License-Identifier: Apache-2.0
"""Which models an environment declares, from the parameters that its packaging jobs write; standard library only.

A parameter's history tells what was declared before, too: while a release rolls out, both are on devices.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Declared:
    """A version of a model that is, or was, declared."""

    version: str
    digest: str


@dataclass(frozen=True)
class DeclaredModel:
    """What is declared of a model.

    Attributes:
        name: the model's.
        current: the declared version.
        former: the one before it; None for a first one.
        since: when the current one was declared, in seconds since 1970 UTC.
    """

    name: str
    current: Declared
    former: Declared | None
    since: float

    @property
    def versions(self) -> Sequence[str]:
        """The versions that are told apart in metrics: no more than two, however many there were."""
        return [one.version for one in (self.current, self.former) if one is not None]


def read_declared(ssm: Any, prefix: str, names: Sequence[str]) -> dict[str, DeclaredModel]:
    """What is declared of each model, by name; a model that is not packaged yet is left out.

    Args:
        ssm: a boto3 client.
        prefix: of the parameters' names; a model's name follows.
        names: of the models.
    """
    found = {}
    for name in names:
        try:
            pages = list(ssm.get_paginator("get_parameter_history").paginate(Name=f"{prefix}{name}"))
        except ssm.exceptions.ParameterNotFound:
            continue
        history = sorted((entry for page in pages for entry in page["Parameters"]), key=lambda entry: entry["Version"])
        declared = [(_declared(entry["Value"]), entry["LastModifiedDate"].timestamp()) for entry in history]
        current, since = declared[-1]
        for one, when in reversed(declared[:-1]):  # what only was written again is as old as its first writing
            if one != current:
                break
            since = when
        others = [one for one, _ in declared if one != current]
        found[name] = DeclaredModel(name, current, others[-1] if others else None, since)
    return found


def _declared(text: str) -> Declared:
    value = json.loads(text)
    return Declared(version=value["ModelVersion"], digest=value["ModelDigest"])
