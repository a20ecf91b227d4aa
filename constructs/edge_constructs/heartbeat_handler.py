# SPDX-License-Identifier: Apache-2.0
"""Takes heartbeats from the queue: each device's last one goes into the table, what was counted into metrics.

The table is written first. Where the metrics cannot be put then, the invocation fails: its messages come again and
change nothing, so that counts may be lost once but are never counted twice.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import boto3
from botocore.exceptions import ClientError

from edge_constructs.declared_models import DeclaredModel, read_declared
from edge_constructs.fleet_metrics import REFUSED, FleetMetrics
from edge_constructs.fleet_settings import FleetSettings, read_common
from edge_constructs.heartbeat_message import Heartbeat, HeartbeatError
from edge_constructs.heartbeat_record import Counts, Record, advance
from edge_constructs.heartbeat_table import ChangedMeanwhileError, HeartbeatTable

logger = logging.getLogger("edge_constructs")
logger.setLevel(logging.INFO)

_ATTEMPTS = 5  # where other invocations write the same device
_DECLARED_SECONDS = 300.0  # for so long what is declared is not read again


class Failures(TypedDict):
    """What the event source mapping takes: the messages that must come again."""

    batchItemFailures: list[dict[str, str]]


@dataclass(frozen=True, kw_only=True)
class Settings(FleetSettings):
    """What the construct tells the function; who is no canary counts in the fleet's group.

    Attributes:
        canary_group: the canaries' group.
        canaries: the canaries' things.
    """

    canary_group: str
    canaries: frozenset[str]

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> Settings:
        """Read them."""
        return cls(
            **read_common(variables),
            canary_group=variables["CANARY_GROUP"],
            canaries=frozenset(variables["CANARIES"].split()),
        )

    def group_of(self, thing: str) -> str:
        """The group whose metrics a thing counts in."""
        return self.canary_group if thing in self.canaries else self.fleet


class Intake:
    """Takes batches of messages.

    Args:
        settings: the function's.
        dynamodb: a boto3 client, as are the two that follow.
        cloudwatch: for the metrics.
        ssm: for what is declared.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        dynamodb: Any,
        cloudwatch: Any,
        ssm: Any,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._table = HeartbeatTable(dynamodb, settings.table)
        self._cloudwatch = cloudwatch
        self._ssm = ssm
        self._clock = clock
        self._declared: Mapping[str, DeclaredModel] = {}
        self._declared_until = float("-inf")

    def take(self, event: Mapping[str, Any]) -> Failures:
        """Take a batch; the answer names the messages that must come again."""
        metrics = FleetMetrics(fleet=self._settings.fleet, models=self._models())
        beats: dict[str, list[tuple[str, Heartbeat]]] = {}
        for message in event["Records"]:
            try:
                beat = Heartbeat.parse(message["body"])
            except HeartbeatError as error:  # it would be refused again, too
                logger.warning(
                    json.dumps({"outcome": "refused", "message": message["messageId"], "reason": str(error)})
                )
                metrics.put_value(self._settings.fleet, REFUSED, 1.0)
                continue
            beats.setdefault(beat.device, []).append((message["messageId"], beat))
        records = self._table.read(beats)
        failed: list[str] = []
        for device, messages in beats.items():
            ordered = sorted(
                (beat for _, beat in messages), key=lambda beat: (beat.received, beat.timestamp, beat.part)
            )
            try:
                counted = self._record(device, records.get(device), ordered)
            except (ClientError, ChangedMeanwhileError) as error:
                logger.error(json.dumps({"outcome": "failed", "device": device, "reason": str(error)}))  # noqa: TRY400 -- one line
                failed += [id_ for id_, _ in messages]
                continue
            for counts in counted:
                metrics.count(self._settings.group_of(device), counts)
        metrics.put(self._cloudwatch, self._settings.namespace)
        return Failures(batchItemFailures=[{"itemIdentifier": id_} for id_ in failed])

    def _record(self, device: str, record: Record | None, beats: Sequence[Heartbeat]) -> list[Counts]:
        """Write what a device's messages say over what was read; what they add to the counts."""
        for attempt in range(_ATTEMPTS):
            if attempt:
                record = self._table.read([device]).get(device)
            new, counted = record, []
            for beat in beats:
                new, counts = advance(new, beat)
                counted.append(counts)
            if new is None or new == record:
                return counted
            try:
                self._table.write(new, over=record)
            except ChangedMeanwhileError:
                continue
            return counted
        raise ChangedMeanwhileError(f"{device}: others wrote it at each of {_ATTEMPTS} attempts")

    def _models(self) -> Mapping[str, DeclaredModel]:
        if self._clock() >= self._declared_until:
            self._declared = read_declared(self._ssm, self._settings.parameters, self._settings.models)
            self._declared_until = self._clock() + _DECLARED_SECONDS
        return self._declared


@functools.cache
def _intake() -> Intake:
    return Intake(
        Settings.read(os.environ),
        dynamodb=boto3.client("dynamodb"),
        cloudwatch=boto3.client("cloudwatch"),
        ssm=boto3.client("ssm"),
    )


def on_messages(event: Mapping[str, Any], _context: object) -> Failures:
    """Lambda entry point, for an event source mapping of SQS."""
    return _intake().take(event)
