# SPDX-License-Identifier: Apache-2.0
"""The table of each device's last heartbeat, as Lambda handlers use it; standard library and boto3 only."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from edge_constructs.heartbeat_record import KEY, Record

REVISION = "Revision"
#: Items of things that never spoke, and since when that is known; no thing's name holds the separator.
AWAITED = "awaited/"
_MOST_KEYS = 100  # of one BatchGetItem
_PAUSE_SECONDS = 0.1


class ChangedMeanwhileError(Exception):
    """Another invocation wrote the item since it was read."""


class HeartbeatTable:
    """Items by device name, each written only over the revision that was read.

    Args:
        dynamodb: a boto3 client.
        name: the table's.
    """

    def __init__(self, dynamodb: Any, name: str) -> None:
        self._dynamodb = dynamodb
        self._name = name

    def read(self, devices: Collection[str]) -> dict[str, Record]:
        """The records of devices, by name; those without one are left out."""
        found: dict[str, Record] = {}
        keys: Sequence[Mapping[str, Any]] = [{KEY: {"S": device}} for device in sorted(devices)]
        while keys:
            asked = {self._name: {"Keys": keys[:_MOST_KEYS], "ConsistentRead": True}}
            answer = self._dynamodb.batch_get_item(RequestItems=asked)
            for item in answer["Responses"].get(self._name, ()):
                record = {name: decode(value) for name, value in item.items()}
                found[record[KEY]] = record
            left = answer.get("UnprocessedKeys", {}).get(self._name, {}).get("Keys", ())
            if left:  # the table is busy; the function's time bounds how often it is asked again
                time.sleep(_PAUSE_SECONDS)
            keys = [*left, *keys[_MOST_KEYS:]]
        return found

    def write(self, record: Record, *, over: Record | None) -> None:
        """Put a record in the place of the one that was read, or of none.

        Raises:
            ChangedMeanwhileError: another one stands there by now.
        """
        former = None if over is None else over[REVISION]
        item = {**record, REVISION: int(former or 0) + 1}
        condition: dict[str, Any] = {"ConditionExpression": f"attribute_not_exists({KEY})"}
        if former is not None:
            condition = {
                "ConditionExpression": f"{REVISION} = :former",
                "ExpressionAttributeValues": {":former": encode(former)},
            }
        try:
            self._dynamodb.put_item(
                TableName=self._name, Item={name: encode(value) for name, value in item.items()}, **condition
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            raise ChangedMeanwhileError(str(record[KEY])) from error

    def scan(self) -> Iterator[Record]:
        """Every item: when the device was heard, which models it names, since when it is awaited."""
        pages = self._dynamodb.get_paginator("scan").paginate(
            TableName=self._name,
            ProjectionExpression="DeviceName, ReceivedAt, Models, AwaitedSince",
        )
        for page in pages:
            for item in page["Items"]:
                yield {name: decode(value) for name, value in item.items()}

    def await_(self, thing: str, now: float) -> None:
        """Note since when a thing is waited for, unless that is noted."""
        item = {KEY: encode(AWAITED + thing), "AwaitedSince": encode(now)}
        self._dynamodb.put_item(TableName=self._name, Item=item)

    def forget(self, thing: str) -> None:
        """Wait for a thing no longer."""
        self._dynamodb.delete_item(TableName=self._name, Key={KEY: encode(AWAITED + thing)})


def encode(value: Any) -> dict[str, Any]:
    """A text, a number or a map of them, as DynamoDB writes it."""
    if isinstance(value, str):
        return {"S": value}
    if isinstance(value, Mapping):
        return {"M": {name: encode(item) for name, item in value.items()}}
    return {"N": repr(round(value, 6))}


def decode(value: Mapping[str, Any]) -> Any:
    """The inverse of `encode`; whole numbers become `int`.

    Raises:
        ValueError: it is of a type that `encode` does not write.
    """
    ((type_, content),) = value.items()
    if type_ == "S":
        return content
    if type_ == "M":
        return {name: decode(item) for name, item in content.items()}
    if type_ != "N":
        raise ValueError(f"a text, number or map is expected, got DynamoDB type {type_}")
    number = float(content)
    return int(number) if number.is_integer() else number
