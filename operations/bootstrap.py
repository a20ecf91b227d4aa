# SPDX-License-Identifier: Apache-2.0
"""How accounts are prepared for the CDK, and for a pipeline that deploys to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from botocore.exceptions import ClientError

from operations.errors import RefusedError, code_of
from operations.target import ENVIRONMENTS, ROOT, account_variable
from stacks.delivery_settings import Delivery, check_partition, load_delivery
from stacks.environment import DOCUMENTATION_ACCOUNT, load_environment
from stacks.partition import partition_of

# Of the CDK's default bootstrap stack; its version is how one sees that there is one.
BOOTSTRAP_PARAMETER = "/cdk-bootstrap/hnb659fds/version"
# What CloudFormation may do for the CDK in an account, after the partition; its default, too, with no account trusted.
EXECUTION_POLICY = "iam::aws:policy/AdministratorAccess"


def bootstrap_command(account: str, region: str, *, trusted: str | None = None) -> str:
    """What a person runs to bootstrap an account; `trusted` is the account of a pipeline that deploys there."""
    command = f"node_modules/.bin/cdk bootstrap aws://{account}/{region}"
    if trusted in {None, account}:
        return command
    policy = f"arn:{partition_of(region)}:{EXECUTION_POLICY}"
    return f"{command} --trust {trusted} --cloudformation-execution-policies {policy}"


def check_bootstrapped(ssm: Any, *, name: str, account: str, region: str, command: str) -> None:
    """See that the CDK may deploy to a place.

    Args:
        ssm: its client there.
        name: of what is deployed.
        account: of the place.
        region: of the place.
        command: what a person runs to bootstrap it.

    Raises:
        RefusedError: its bootstrap stack is missing.
    """
    try:
        ssm.get_parameter(Name=BOOTSTRAP_PARAMETER)
    except ClientError as error:
        if code_of(error) != "ParameterNotFound":
            raise
        raise RefusedError(
            f"{name}: account {account} is not bootstrapped for the CDK in {region}: there is no parameter "
            f"{BOOTSTRAP_PARAMETER}. Bootstrap it once:\n  {command}"
        ) from error


def bootstrap_lines(variables: Mapping[str, str]) -> Iterator[str]:
    """The commands for the pipeline's account and for those that it deploys to, each place once.

    Raises:
        RefusedError: an account is not told.
        EnvironmentFileError: a file is wrong.
    """
    delivery = load_told_delivery(variables)
    places = {(delivery.account, delivery.region): "the pipeline"}
    environments = [
        load_environment(ENVIRONMENTS / f"{name}.toml", variables=variables) for name in delivery.environments
    ]
    check_partition(delivery, environments)
    for environment in environments:
        name = environment.name
        # A pipeline keeps copies of its artifacts, in its own account, in every region that it deploys to.
        for account, why in {delivery.account: f"artifacts for {name}", environment.account: name}.items():
            place = (account, environment.region)
            if place not in places or why == name:
                places[place] = f"{places[place]}, {why}" if place in places else why
    for (account, region), named in places.items():
        yield f"# {named}: with credentials of {account}"
        yield bootstrap_command(account, region, trusted=delivery.account)


def load_told_delivery(variables: Mapping[str, str]) -> Delivery:
    """delivery.toml, with every account that it needs told.

    Raises:
        RefusedError: one is not.
        EnvironmentFileError: the file is wrong.
    """
    variables = {key: value for key, value in variables.items() if value}
    delivery = load_delivery(ROOT / "delivery.toml", variables=variables)
    needed = ["EDGE_DELIVERY_ACCOUNT", *map(account_variable, delivery.environments)]
    missing = [name for name in needed if variables.get(name, DOCUMENTATION_ACCOUNT) == DOCUMENTATION_ACCOUNT]
    if missing:
        raise RefusedError(
            f"the pipeline deploys to {', '.join(delivery.environments)}: {', '.join(missing)} must name an account of "
            f"yours, and none or {DOCUMENTATION_ACCOUNT} was given: set it, and ..._REGION where it is not "
            f"{delivery.region}"
        )
    return delivery
