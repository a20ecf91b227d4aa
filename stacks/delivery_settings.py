# SPDX-License-Identifier: Apache-2.0
"""The delivery pipeline's settings: what `delivery.toml` says, typed and checked before anything is synthesised."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from stacks.environment import DEFAULT_REGION, DOCUMENTATION_ACCOUNT, Environment
from stacks.partition import partition_of
from stacks.settings_file import EnvironmentFileError, read_settings, repeated, validate

# What a pipeline is synthesised with that has no connection of its own; it connects to nothing.
DOCUMENTATION_CONNECTION = (
    f"arn:aws:codeconnections:{DEFAULT_REGION}:{DOCUMENTATION_ACCOUNT}:connection/00000000-0000-0000-0000-000000000000"
)
_CONNECTION = re.compile(
    r"arn:[a-z-]+:(codeconnections|codestar-connections):[a-z0-9-]+:\d{12}:connection/[0-9a-f-]{36}"
)

# Devices that people depend on: nothing gets there that nobody agreed to.
_APPROVED = "prod"

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,20}$")]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Delivery:
    """The pipeline. Account, region and connection come from the process's environment, not from the file.

    Attributes:
        repository: `owner/name` behind the connection.
        branch: what is delivered.
        environments: in the order of promotion.
        approval: those of them that wait for a person.
        report_base: git ref that the first change report is held against: what an environment runs is unknown until a
            release has passed verification there.
        connection: ARN of the connection to the repository (AWS CodeConnections).
    """

    repository: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)+$")]
    branch: Annotated[str, Field(pattern=r"^[A-Za-z0-9_./-]+$")] = "main"
    environments: Annotated[tuple[Name, ...], Field(min_length=1)]
    approval: tuple[Name, ...] = ()
    report_base: Annotated[str, Field(pattern=r"^[A-Za-z0-9_./~^-]+$")]
    account: Annotated[str, Field(pattern=r"^\d{12}$")]
    region: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")]
    connection: str

    def verify_role(self, environment: str) -> str:
        """The role of the projects that verify an environment; its account's roles trust it by this name."""
        return f"edge-delivery-verify-{environment}"

    def verify_role_arn(self, environment: str) -> str:
        """ARN of `verify_role`."""
        return f"arn:{partition_of(self.region)}:iam::{self.account}:role/{self.verify_role(environment)}"

    def commit_parameter(self, environment: str) -> str:
        """The SSM parameter that holds the commit that passed verification in an environment last."""
        return f"/edge-delivery/{environment}/commit"


_TYPE = TypeAdapter(Delivery)


def load_delivery(path: Path, *, variables: Mapping[str, str] | None = None) -> Delivery:
    """Read and check the pipeline's file.

    Args:
        path: the TOML file.
        variables: where EDGE_DELIVERY_ACCOUNT, _REGION and _CONNECTION are looked up; the process's own by default.

    Raises:
        EnvironmentFileError: the file cannot be read, or a key or value is not what it must be.
    """
    variables = os.environ if variables is None else variables
    document = read_settings(
        path,
        holds="the pipeline",
        set_elsewhere={"account", "region", "connection"},
        where="they come from EDGE_DELIVERY_ACCOUNT, EDGE_DELIVERY_REGION and EDGE_DELIVERY_CONNECTION",
    )
    document |= {
        "account": variables.get("EDGE_DELIVERY_ACCOUNT", DOCUMENTATION_ACCOUNT),
        "region": variables.get("EDGE_DELIVERY_REGION", DEFAULT_REGION),
        "connection": variables.get("EDGE_DELIVERY_CONNECTION", DOCUMENTATION_CONNECTION),
    }
    delivery = validate(_TYPE, document, strict=True, source=str(path))
    _check(delivery, path)
    return delivery


def check_partition(delivery: Delivery, environments: Iterable[Environment]) -> None:
    """See that the environments' accounts can trust the pipeline's; one in nobody's account delivers nothing.

    Raises:
        EnvironmentFileError: one of them lies in another partition.
    """
    partition = partition_of(delivery.region)
    elsewhere = [
        f"{one.name} in {one.region} ({partition_of(one.region)})"
        for one in environments
        if one.name in delivery.environments and partition_of(one.region) != partition
    ]
    if elsewhere and delivery.account != DOCUMENTATION_ACCOUNT:
        raise EnvironmentFileError(
            f"delivery.toml: environments: those of the pipeline's partition are expected, {partition}, as "
            f"EDGE_DELIVERY_REGION is {delivery.region}, but there is {', '.join(elsewhere)}: no account trusts one of "
            "another partition: choose other regions, or take it out of delivery.toml and deploy it with `make deploy`"
        )


def _check(delivery: Delivery, path: Path) -> None:
    names = delivery.environments
    if twice := repeated(names):
        raise EnvironmentFileError(f"{path}: environments: {', '.join(twice)} stands twice; each is delivered to once")
    files = sorted(found.stem for found in path.parent.glob("environments/*.toml"))
    if unknown := [name for name in names if name not in files]:
        raise EnvironmentFileError(
            f"{path}: environments: some of {', '.join(files)} are expected, got {', '.join(unknown)}: write a file of "
            "environments/ without .toml, or add that file"
        )
    if unknown := [name for name in delivery.approval if name not in names]:
        raise EnvironmentFileError(
            f"{path}: approval: some of environments are expected, got {', '.join(unknown)}: name it there, too"
        )
    if _APPROVED in names and _APPROVED not in delivery.approval:
        raise EnvironmentFileError(
            f"{path}: approval: {_APPROVED} is expected among them, as it is one of environments, got "
            f"{', '.join(delivery.approval) or 'none'}: name it there: it waits for a person"
        )
    if not _CONNECTION.fullmatch(delivery.connection):
        raise EnvironmentFileError(
            "EDGE_DELIVERY_CONNECTION: the ARN of a connection is expected, arn:aws:codeconnections:<region>:<account>:"
            f"connection/<id>, got {delivery.connection!r}: copy it from the console of CodePipeline, Settings, "
            "Connections"
        )
