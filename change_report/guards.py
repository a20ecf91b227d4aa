# SPDX-License-Identifier: Apache-2.0
"""Settings of resources that keep others out without being a policy: one that opens is a wider permission."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from change_report.permissions import Direction, PermissionChange
from change_report.statements import Templates, without_hash

# Type -> path of the setting -> the value that keeps others out.
_GUARDS: Mapping[str, Mapping[tuple[str, ...], Any]] = {
    "AWS::S3::Bucket": {
        ("PublicAccessBlockConfiguration", name): True
        for name in ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
    },
    "AWS::Lambda::Url": {("AuthType",): "AWS_IAM"},
}


def open_guards(before: Templates, after: Templates) -> list[PermissionChange]:
    """Guards that open or close; a new resource that lacks one opens it."""
    found = []
    for stack, template in after.items():
        former = before.get(stack, {}).get("Resources", {})
        for id_, resource in template.get("Resources", {}).items():
            for setting, was, now in _guards(former.get(id_, {}), resource):
                if was != now:
                    direction: Direction = "narrowed" if now else "widened"
                    name = without_hash(id_)
                    told = f"{name}: {setting} {'keeps others out now' if now else 'no longer keeps others out'}"
                    found.append(PermissionChange(direction=direction, holder=name, stack=stack, text=told))
    return found


def _guards(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, bool, bool]]:
    for path, closed in _GUARDS.get(after["Type"], {}).items():
        was = not before or _at(before.get("Properties", {}), path) == closed
        yield ".".join(path), was, _at(after.get("Properties", {}), path) == closed


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
