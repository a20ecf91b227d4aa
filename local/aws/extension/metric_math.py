# SPDX-License-Identifier: Apache-2.0
"""CloudWatch's metric math, as far as alarms of this project need it: arithmetic over numbers and named metrics."""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

_OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanOrEqualToThreshold": operator.le,
    "LessThanThreshold": operator.lt,
}


class UnsupportedMathError(ValueError):
    """An expression that is not emulated."""


def evaluate(expression: str, values: Mapping[str, float]) -> float | None:
    """What an expression is for the metrics' values of one period.

    Args:
        expression: Such as ``100 * failed / (answered + failed)``.
        values: Of each metric that has one, by its id.

    Returns:
        None where CloudWatch has no data point: a metric has none, or a division is by zero.

    Raises:
        UnsupportedMathError: It is more than arithmetic.
    """
    try:
        return _value(ast.parse(expression, mode="eval").body, values)
    except SyntaxError as error:
        raise UnsupportedMathError(f"metric math {expression!r}: arithmetic is expected: {error}") from error
    except (KeyError, ZeroDivisionError):
        return None


def compare(value: float, comparison: str, threshold: float) -> bool:
    """Whether a value breaches a threshold by one of CloudWatch's comparison operators."""
    return _COMPARISONS[comparison](value, threshold)


def _value(node: ast.AST, values: Mapping[str, float]) -> float:
    found: Any
    match node:
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            found = _OPERATORS[type(op)](_value(left, values), _value(right, values))
        case ast.Name(id=name):
            found = values[name]
        case ast.Constant(value=int() | float() as number):
            found = number
        case _:
            raise UnsupportedMathError(
                f"metric math: numbers, metrics and + - * / are emulated, not {ast.unparse(node)}"
            )
    return float(found)
