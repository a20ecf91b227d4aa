# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3

from operations.target import Target

# A role that was assumed from another one lasts an hour, and a verification may last eight.
_MARGIN = timedelta(minutes=10)


class AssumedRole:
    """Clients of a role in the environment's account; it is assumed again before it ends.

    Args:
        sts: the client to assume it with.
        arn: the role's.
        region: of the clients.
        now: aware UTC.
    """

    def __init__(
        self, sts: Any, *, arn: str, region: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._sts = sts
        self._arn = arn
        self._region = region
        self._now = now
        self._ends = datetime.min.replace(tzinfo=UTC)
        self._clients: dict[str, Any] = {}
        self._session: Any = None

    def client(self, service: str) -> Any:
        """The boto3 client of a service. Ask anew for each use: one that is kept loses its permissions."""
        if self._now() + _MARGIN >= self._ends:
            answer = self._sts.assume_role(RoleArn=self._arn, RoleSessionName="edge-delivery")["Credentials"]
            self._ends = answer["Expiration"]
            self._clients.clear()
            self._session = boto3.Session(
                aws_access_key_id=answer["AccessKeyId"],
                aws_secret_access_key=answer["SecretAccessKey"],
                aws_session_token=answer["SessionToken"],
                region_name=self._region,
            )
        if service not in self._clients:
            self._clients[service] = self._session.client(service)
        return self._clients[service]


def with_role(target: Target, name: str) -> Target:
    """The target with the clients of one of its account's roles."""
    environment = target.environment
    arn = f"arn:{target.partition}:iam::{environment.account}:role/{name}"
    role = AssumedRole(target.client("sts"), arn=arn, region=environment.region)
    return replace(target, client=role.client)
