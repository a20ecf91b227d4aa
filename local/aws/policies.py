# SPDX-License-Identifier: Apache-2.0
"""Identity-based IAM policies evaluated by AWS's documented rules, to hold templates and recorded calls against them.

Of the rules of the IAM user guide (“Policy evaluation logic”, “IAM JSON policy elements reference”) these are here:
an explicit Deny wins, what no statement allows is denied; Action and Resource with their Not forms; the condition
operators below, alone and with ``IfExists``. What is not here raises: no answer is better than a wrong one.
"""

import dataclasses
import enum
import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Statement = Mapping[str, Any]
_ANY = "ForAnyValue:"
_IF_EXISTS = "IfExists"
_KNOWN = {"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"}


class Decision(enum.Enum):
    """What the policies say of a request."""

    ALLOW = "Allow"
    DENY = "Deny"
    IMPLICIT_DENY = "ImplicitDeny"


@dataclasses.dataclass(frozen=True)
class Request:
    """An action on a resource; ``context`` maps condition keys, in any case, to a text or a list of texts."""

    action: str
    resource: str
    context: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class PolicyError(ValueError):
    """A policy holds what this evaluator does not know, or what IAM would refuse."""


def statements_of(document: Mapping[str, Any]) -> Sequence[Statement]:
    """The statements of a policy document.

    Raises:
        PolicyError: A statement is not one of an identity-based policy.
    """
    statements = _list(document["Statement"])
    for statement in statements:
        if unknown := set(statement) - _KNOWN:
            raise PolicyError(f"statement {statement}: {', '.join(sorted(unknown))} is not known here")
        for element in ("Action", "Resource"):
            if (element in statement) == (f"Not{element}" in statement):
                raise PolicyError(f"statement {statement}: exactly one of {element} and Not{element} is expected")
        if statement.get("Effect") not in {"Allow", "Deny"}:
            raise PolicyError(f"statement {statement}: Effect Allow or Deny is expected")
    return statements


def decide(statements: Iterable[Statement], request: Request) -> Decision:
    """What identity-based policies, taken together, say of a request."""
    effects = {statement["Effect"] for statement in statements if applies(statement, request)}
    if "Deny" in effects:
        return Decision.DENY
    return Decision.ALLOW if effects else Decision.IMPLICIT_DENY


def applies(statement: Statement, request: Request) -> bool:
    """Whether a statement speaks of the request, whatever its effect."""
    if "Action" in statement:
        acts = any(action_matches(pattern, request.action) for pattern in _list(statement["Action"]))
    else:
        acts = not any(action_matches(pattern, request.action) for pattern in _list(statement["NotAction"]))
    if "Resource" in statement:
        meets = any(resource_matches(pattern, request.resource) for pattern in _list(statement["Resource"]))
    else:
        meets = not any(resource_matches(pattern, request.resource) for pattern in _list(statement["NotResource"]))
    return acts and meets and _conditions_hold(statement.get("Condition", {}), request.context)


def action_matches(pattern: str, action: str) -> bool:
    """``*`` and ``?`` as usual; the case does not matter."""
    return re.fullmatch(_expression(pattern), action, re.IGNORECASE | re.DOTALL) is not None


def resource_matches(pattern: str, resource: str) -> bool:
    """``*`` and ``?`` within a segment between colons, ``*`` at a segment's end beyond it too; the case matters."""
    return re.fullmatch(_arn_expression(pattern), resource, re.DOTALL) is not None


@functools.cache
def _expression(pattern: str) -> str:
    return "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in pattern)


@functools.cache
def _arn_expression(pattern: str) -> str:
    segments = []
    for segment in pattern.split(":"):
        inner, last = (segment[:-1], ".*") if segment.endswith("*") else (segment, "")
        segments.append("".join({"*": "[^:]*", "?": "[^:]"}.get(char, re.escape(char)) for char in inner) + last)
    return ":".join(segments)


def _conditions_hold(conditions: Mapping[str, Mapping[str, Any]], context: Mapping[str, Any]) -> bool:
    present = {key.lower(): value for key, value in context.items()}
    return all(
        _condition_holds(operator, _list(expected), present.get(key.lower()))
        for operator, keys in conditions.items()
        for key, expected in keys.items()
    )


def _condition_holds(operator: str, expected: Sequence[str], found: Any) -> bool:
    if operator == "Null":
        return any((found is None) == (str(text).lower() == "true") for text in expected)
    if operator.startswith(_ANY):
        values = [] if found is None else _list(found)
        return any(_condition_holds(operator.removeprefix(_ANY), expected, value) for value in values)
    name = operator.removesuffix(_IF_EXISTS)
    if name not in _OPERATORS:
        raise PolicyError(f"condition operator {operator}: expected one of {', '.join(_OPERATORS)}, Null")
    if isinstance(found, list):
        raise PolicyError(f"condition operator {operator}: several values need ForAllValues or ForAnyValue, not here")
    matches, negated = _OPERATORS[name]
    if found is None:
        return operator.endswith(_IF_EXISTS) or negated
    return negated != any(matches(str(text), str(found)) for text in expected)


def _arn_like(pattern: str, arn: str) -> bool:
    """Each of the six parts for itself; only in the last one ``*`` meets colons."""
    patterns, parts = pattern.split(":", 5), arn.split(":", 5)
    return len(patterns) == len(parts) and all(
        re.fullmatch(_expression(pattern), part, re.DOTALL) for pattern, part in zip(patterns, parts, strict=True)
    )


def _string_like(pattern: str, text: str) -> bool:
    return re.fullmatch(_expression(pattern), text, re.DOTALL) is not None


def _equal(expected: str, found: str) -> bool:
    return expected == found


def _equal_ignoring_case(expected: str, found: str) -> bool:
    return expected.lower() == found.lower()


# By name: how one expected value is held against the one found, and whether the operator negates.
_OPERATORS: Mapping[str, tuple[Callable[[str, str], bool], bool]] = {
    "StringEquals": (_equal, False),
    "StringNotEquals": (_equal, True),
    "StringEqualsIgnoreCase": (_equal_ignoring_case, False),
    "StringNotEqualsIgnoreCase": (_equal_ignoring_case, True),
    "StringLike": (_string_like, False),
    "StringNotLike": (_string_like, True),
    "ArnEquals": (_arn_like, False),
    "ArnLike": (_arn_like, False),
    "ArnNotEquals": (_arn_like, True),
    "ArnNotLike": (_arn_like, True),
    "Bool": (_equal_ignoring_case, False),
}


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]
