# SPDX-License-Identifier: Apache-2.0
"""The move in estimated monthly cost: usage at the prices of prices.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from change_report.errors import ReportError

_TABLE = Path(__file__).with_name("prices.toml")


@checked(frozen=True, kw_only=True)
class Price:
    """US dollars for `per` of `what`; `page` is where AWS publishes it. "fill": yours to fill."""

    price: Annotated[float, Field(ge=0)] | Literal["fill"]
    per: Annotated[int, Field(ge=1)]
    what: str
    page: str


@checked(frozen=True, kw_only=True)
class Prices:
    """The table, of one region at one date (year and month)."""

    as_of: str
    region: str
    assumptions: Mapping[str, float]
    prices: Mapping[str, Price]


@dataclass(frozen=True, kw_only=True)
class CostLine:
    """One priced thing of an environment: quantities a month, and US dollars; None where there is no price."""

    what: str
    before: float
    after: float
    cost_before: float | None
    cost_after: float | None
    source: str


@dataclass(frozen=True, kw_only=True)
class CostMove:
    """An environment's estimate, in US dollars a month, and the lines that move."""

    before: float
    after: float
    lines: tuple[CostLine, ...]

    @property
    def move(self) -> float:
        """What it costs more a month."""
        return self.after - self.before


def read_prices(path: Path = _TABLE) -> Prices:
    """The price table.

    Raises:
        ReportError: it is no such table.
    """
    try:
        return TypeAdapter(Prices).validate_python(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise ReportError(f"{path.name}: a table of prices is expected: {error}") from error


def cost_move(prices: Prices, before: Mapping[str, float], after: Mapping[str, float]) -> CostMove:
    """What two usages cost, and what of it differs."""
    lines = [_line(prices, name, before.get(name, 0), after.get(name, 0)) for name in prices.prices]
    return CostMove(
        before=sum(line.cost_before or 0 for line in lines),
        after=sum(line.cost_after or 0 for line in lines),
        lines=tuple(line for line in lines if line.before != line.after),
    )


def _line(prices: Prices, name: str, before: float, after: float) -> CostLine:
    price = prices.prices[name]

    def cost(quantity: float) -> float | None:
        return None if price.price == "fill" else quantity * price.price / price.per

    source = f"{price.page}, {prices.region}, {prices.as_of}"
    return CostLine(
        what=price.what,
        before=before,
        after=after,
        cost_before=cost(before),
        cost_after=cost(after),
        source=f"yours to fill: {price.page}" if price.price == "fill" else source,
    )
