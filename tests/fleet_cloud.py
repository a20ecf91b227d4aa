# SPDX-License-Identifier: Apache-2.0
"""What the fleet's functions see of AWS, in memory; botocore holds every request and answer to its service models."""

from __future__ import annotations

import datetime as dt
import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_constructs.heartbeat_table import decode
from tests.edge_constructs.conftest import ServiceError, client_of

Item = Mapping[str, Any]


def _now(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


@dataclass
class FleetCloud:
    """A table, metrics, parameters with their history, and thing groups.

    `before_put` runs before an item is written; `writes` counts the items that were. `puts` holds each PutMetricData.
    `failing` names operations that answer with an error.
    """

    table: str = "dev-heartbeats"
    items: dict[str, Item] = field(default_factory=dict)
    writes: int = 0
    puts: list[Mapping[str, Any]] = field(default_factory=list)
    parameters: dict[str, list[tuple[float, str]]] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)
    failing: set[str] = field(default_factory=set)
    before_put: Callable[[], None] = lambda: None
    page: int = 2

    @functools.cached_property
    def clients(self) -> dict[str, Any]:
        """A boto3 client for each service."""
        operations: dict[str, dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]]] = {
            "dynamodb": {
                "BatchGetItem": self._read,
                "PutItem": self._write,
                "DeleteItem": self._delete,
                "Scan": self._scan,
            },
            "cloudwatch": {"PutMetricData": self._put},
            "ssm": {"GetParameterHistory": self._history},
            "iot": {"ListThingsInThingGroup": self._members},
        }
        return {service: client_of(service, found) for service, found in operations.items()}

    def declare(self, model: str, version: str, digest: str, *, at: float = 0.0, prefix: str = "/models/") -> None:
        """Write a model's parameter anew."""
        value = json.dumps({"ModelVersion": version, "ModelDigest": digest})
        self.parameters.setdefault(f"{prefix}{model}", []).append((at, value))

    def record(self, key: str) -> dict[str, Any]:
        """An item in Python's types."""
        return {name: decode(value) for name, value in self.items[key].items()}

    def sums(self) -> dict[tuple[str, ...], float]:
        """The sum of each series: the metric's name and its dimensions' values."""
        found: dict[tuple[str, ...], float] = {}
        for put in self.puts:
            for datum in put["MetricData"]:
                series = (datum["MetricName"], *(dimension["Value"] for dimension in datum["Dimensions"]))
                found[series] = found.get(series, 0.0) + datum["StatisticValues"]["Sum"]
        return found

    def _read(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        self._may("BatchGetItem")
        ((table, wanted),) = asked["RequestItems"].items()
        assert table == self.table
        assert wanted["ConsistentRead"] is True
        keys = [key["DeviceName"]["S"] for key in wanted["Keys"]]
        assert len(set(keys)) == len(keys) <= 100
        now, later = keys[:60], keys[60:]  # DynamoDB leaves some where it is busy
        answer = {"Responses": {table: [self.items[key] for key in now if key in self.items]}}
        left = {table: {"Keys": [{"DeviceName": {"S": key}} for key in later], "ConsistentRead": True}} if later else {}
        return {**answer, "UnprocessedKeys": left}

    def _write(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        self._may("PutItem")
        assert asked["TableName"] == self.table
        self.before_put()
        key = asked["Item"]["DeviceName"]["S"]
        there = self.items.get(key)
        match asked.get("ConditionExpression"):
            case None:
                met = True
            case "attribute_not_exists(DeviceName)":
                met = there is None
            case "Revision = :former":
                met = there is not None and there["Revision"] == asked["ExpressionAttributeValues"][":former"]
            case other:
                raise AssertionError(f"condition {other!r}")
        if not met:
            raise ServiceError("ConditionalCheckFailedException", 400)
        self.items[key] = asked["Item"]
        self.writes += 1
        return {}

    def _delete(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        assert asked["TableName"] == self.table
        self.items.pop(asked["Key"]["DeviceName"]["S"], None)
        return {}

    def _scan(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        assert asked["TableName"] == self.table
        wanted = [name.strip() for name in asked["ProjectionExpression"].split(",")]
        keys = sorted(self.items)
        start = keys.index(asked["ExclusiveStartKey"]["DeviceName"]["S"]) + 1 if "ExclusiveStartKey" in asked else 0
        page = keys[start : start + self.page]
        found = [{name: value for name, value in self.items[key].items() if name in wanted} for key in page]
        more = {"LastEvaluatedKey": {"DeviceName": {"S": page[-1]}}} if start + self.page < len(keys) else {}
        return {"Items": found, **more}

    def _put(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        self._may("PutMetricData")
        assert len(asked["MetricData"]) <= 1000
        self.puts.append(asked)
        return {}

    def _history(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        self._may("GetParameterHistory")
        if asked["Name"] not in self.parameters:
            raise ServiceError("ParameterNotFound", 400)
        history = self.parameters[asked["Name"]]
        start = int(asked.get("NextToken", "0"))
        page = [
            {"Name": asked["Name"], "Value": value, "Version": version, "LastModifiedDate": _now(at)}
            for version, (at, value) in enumerate(history, start=1)
        ][start : start + self.page]
        more = {"NextToken": str(start + self.page)} if start + self.page < len(history) else {}
        return {"Parameters": page, **more}

    def _members(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        assert asked["maxResults"] == 250
        things = self.groups[asked["thingGroupName"]]
        start = int(asked.get("nextToken", "0"))
        more = {"nextToken": str(start + self.page)} if start + self.page < len(things) else {}
        return {"things": things[start : start + self.page], **more}

    def _may(self, operation: str) -> None:
        if operation in self.failing:
            raise ServiceError("ThrottlingException", 400, "too many requests")
