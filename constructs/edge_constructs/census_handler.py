# SPDX-License-Identifier: Apache-2.0
"""Counts, of the things that each group declares, those that are silent and those that run another model.

It goes by the groups' members, not by the heartbeats: who never spoke, or has not for a month, is counted like any
other.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import boto3

from edge_constructs.declared_models import DeclaredModel, read_declared
from edge_constructs.fleet_metrics import DEVICES, OTHER_DIGEST, SILENT, FleetMetrics
from edge_constructs.fleet_settings import FleetSettings, read_common
from edge_constructs.heartbeat_record import KEY, Record
from edge_constructs.heartbeat_table import AWAITED, HeartbeatTable

logger = logging.getLogger("edge_constructs")
logger.setLevel(logging.INFO)

_NAMED = 20  # devices in a log line
_PAGE = 250  # the most that IoT lists at once; it answers a few requests a second


@dataclass(frozen=True, kw_only=True)
class Settings(FleetSettings):
    """What the construct tells the function.

    Attributes:
        groups: the thing groups whose members are counted.
        silent_seconds: who was not heard for so long is silent; new things have as long to speak first.
        rollout_seconds: for so long after a model was declared anew, its former digest is as good.
    """

    groups: tuple[str, ...]
    silent_seconds: float
    rollout_seconds: float

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> Settings:
        """Read them."""
        return cls(
            **read_common(variables),
            groups=tuple(variables["THING_GROUPS"].split()),
            silent_seconds=float(variables["SILENT_SECONDS"]),
            rollout_seconds=float(variables["ROLLOUT_SECONDS"]),
        )


class Census:
    """Counts devices.

    Args:
        settings: the function's.
        dynamodb: a boto3 client, as are the three that follow.
        cloudwatch: for the metrics.
        iot: for the groups' members.
        ssm: for what is declared.
    """

    def __init__(self, settings: Settings, *, dynamodb: Any, cloudwatch: Any, iot: Any, ssm: Any) -> None:
        self._settings = settings
        self._table = HeartbeatTable(dynamodb, settings.table)
        self._cloudwatch = cloudwatch
        self._iot = iot
        self._ssm = ssm

    def take(self, now: float) -> None:
        """Count, and put the metrics.

        Args:
            now: seconds since 1970 UTC.
        """
        settings = self._settings
        records = {record[KEY]: record for record in self._table.scan()}
        declared = read_declared(self._ssm, settings.parameters, settings.models)
        metrics = FleetMetrics(fleet=settings.fleet, models=declared)
        expected: set[str] = set()
        for group in settings.groups:
            things = self._members(group)
            expected |= things
            silent = {thing for thing in things if self._is_silent(thing, records, now)}
            other = {
                thing
                for thing in things - silent
                if not self._runs_declared(records.get(thing, {}), declared.values(), now)
            }
            for name, value in ((DEVICES, things), (SILENT, silent), (OTHER_DIGEST, other)):
                metrics.put_value(group, name, float(len(value)))
            found = {SILENT: sorted(silent)[:_NAMED], OTHER_DIGEST: sorted(other)[:_NAMED]}
            logger.info(json.dumps({"group": group, DEVICES: len(things), **found}))
        metrics.put(self._cloudwatch, settings.namespace)
        self._await(expected, records, now)

    def _members(self, group: str) -> set[str]:
        paginator = self._iot.get_paginator("list_things_in_thing_group")
        pages = paginator.paginate(thingGroupName=group, PaginationConfig={"PageSize": _PAGE})
        return {thing for page in pages for thing in page["things"]}

    def _is_silent(self, thing: str, records: Mapping[str, Record], now: float) -> bool:
        if (heard := records.get(thing)) is not None:
            return bool(now - heard["ReceivedAt"] > self._settings.silent_seconds)
        awaited = records.get(AWAITED + thing)
        return awaited is not None and bool(now - awaited["AwaitedSince"] > self._settings.silent_seconds)

    def _runs_declared(self, record: Record, declared: Iterable[DeclaredModel], now: float) -> bool:
        """Whether each loaded model that is declared has a declared digest; others are their clients' affair."""
        models: Mapping[str, Any] = record.get("Models", {})
        for model in declared:
            digests = {model.current.digest}
            if model.former is not None and now - model.since <= self._settings.rollout_seconds:
                digests.add(model.former.digest)
            # A model that is loaded twice stands there a second time, as <name>/<handle>.
            loaded = (one for name, one in models.items() if name.partition("/")[0] == model.name)
            if any(one["ModelDigest"] not in digests for one in loaded):
                return False
        return True

    def _await(self, expected: set[str], records: Mapping[str, Record], now: float) -> None:
        """Note who is waited for since now, and forget who spoke or is expected no more."""
        awaited = {key.removeprefix(AWAITED) for key in records if key.startswith(AWAITED)}
        unheard = {thing for thing in expected if thing not in records}
        for thing in sorted(unheard - awaited):
            self._table.await_(thing, now)
        for thing in sorted(awaited - unheard):
            self._table.forget(thing)


@functools.cache
def _census() -> Census:
    return Census(
        Settings.read(os.environ),
        dynamodb=boto3.client("dynamodb"),
        cloudwatch=boto3.client("cloudwatch"),
        iot=boto3.client("iot"),
        ssm=boto3.client("ssm"),
    )


def on_schedule(_event: Mapping[str, Any], _context: object) -> None:
    """Lambda entry point, for a rule of EventBridge."""
    _census().take(time.time())
