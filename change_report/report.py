# SPDX-License-Identifier: Apache-2.0
"""The whole report: both sides read and compared."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from change_report.artifacts import ComponentChange, component_changes
from change_report.cost import Prices, read_prices
from change_report.environments import EnvironmentChange, environment_changes
from change_report.leaves import Leaf, differing
from change_report.model_changes import ModelChange, model_changes
from change_report.repository import Repository
from change_report.sides import Side, Today, read_base, read_today
from change_report.verdict import Decision, decisions, notes


@dataclass(frozen=True, kw_only=True)
class Report:
    """What changed since BASE.

    Attributes:
        base: BASE, for people.
        head: what is compared with it.
        components: those with an artifact of their own.
        models: those of models/.
        environments: every environment, unchanged ones as well.
        alike: names of environments whose changes are the same but for their names, together.
        pins: what the app is built with.
        assets: assets of the CDK with other content, or None where BASE's snapshots do not tell.
        decisions: what needs one.
        notes: what is easily missed.
        prices: that the estimates are made with.
    """

    base: str
    head: str
    components: tuple[ComponentChange, ...]
    models: tuple[ModelChange, ...]
    environments: tuple[EnvironmentChange, ...]
    alike: tuple[tuple[str, ...], ...]
    pins: tuple[Leaf, ...]
    assets: tuple[str, ...] | None
    decisions: tuple[Decision, ...]
    notes: tuple[str, ...]
    prices: Prices

    @property
    def nothing(self) -> bool:
        """Whether nothing at all differs."""
        quiet = all(environment.status == "unchanged" for environment in self.environments)
        return quiet and not (self.components or self.models or self.assets or self.pins)

    def group(self, names: tuple[str, ...]) -> list[EnvironmentChange]:
        """The environments of a group of `alike`."""
        return [environment for environment in self.environments if environment.name in names]


def make_report(root: Path, base: str | None) -> Report:
    """Compare a clone's working tree with BASE.

    Raises:
        BaseError: BASE is not what it must be.
        ReportError: today's tree does not synthesise, or the diff engine is missing.
    """
    repository = Repository(root)
    commit = repository.base(base)
    prices = read_prices()
    with tempfile.TemporaryDirectory(prefix="change-report-") as folder:
        repository.extract(commit, Path(folder))
        former = read_base(Path(folder))
        return _compared(commit.title, repository.head(), former, read_today(root), prices)


def _compared(base: str, head: str, before: Side, today: Today, prices: Prices) -> Report:
    after = today.side
    components = component_changes(before, after)
    models = model_changes(before.root / "models", after.root / "models")
    environments = environment_changes(before, after, prices)
    assets = None
    if before.assets is not None:
        assets = tuple(leaf.name for leaf in differing(before.assets, after.assets))
    return Report(
        base=base,
        head=head,
        components=tuple(components),
        models=tuple(models),
        environments=tuple(environments),
        alike=tuple(_alike(environments)),
        pins=tuple(differing(before.pins, after.pins)),
        assets=assets,
        decisions=tuple(decisions(environments, models)),
        notes=(*_stale(today.stale), *notes(components, models, environments)),
        prices=prices,
    )


def _stale(names: tuple[str, ...]) -> list[str]:
    if not names:
        return []
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")  # noqa: PLR2004 -- a line
    return [
        f"the committed snapshots are not what is synthesised today ({shown}): run `make snapshots` and commit them"
    ]


def _alike(environments: list[EnvironmentChange]) -> list[tuple[str, ...]]:
    groups: dict[str, list[str]] = {}
    for change in environments:
        if change.status != "unchanged":
            text = change.anonymous(repr({**change.__dict__, "cost": None}))
            groups.setdefault(text, []).append(change.name)
    return [tuple(names) for names in groups.values()]
