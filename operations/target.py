# SPDX-License-Identifier: Apache-2.0
"""The environment that an operation is for, and the account that it lies in."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

from operations.errors import RefusedError, code_of, exists
from stacks.environment import DOCUMENTATION_ACCOUNT, Environment, load_environment
from stacks.order import stack_names

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENTS = ROOT / "environments"
# Deploying and destroying these needs a word more.
PROTECTED = frozenset({"prod"})

Say = Callable[[str], None]


@dataclass(frozen=True)
class Target:
    """An environment with access to its account.

    Attributes:
        client: gives the boto3 client of a service, in the environment's region.
        say: shows a person a line.
    """

    environment: Environment
    client: Callable[[str], Any]
    say: Say

    @property
    def stack_names(self) -> tuple[str, ...]:
        """The environment's stacks, in the order of their deployment."""
        return stack_names(self.environment)

    @property
    def former_stack_names(self) -> tuple[str, ...]:
        """Stacks that it may have left from when it had canaries; the app knows them no more."""
        return () if self.environment.canaries else (f"{self.environment.namespace}-Rollout",)

    @property
    def group_arn(self) -> str:
        """ARN of the fleet's thing group."""
        return self.arn_of_group(self.environment.thing_group)

    @property
    def first_group_arn(self) -> str:
        """ARN of the thing group that a release reaches first."""
        return self.arn_of_group(self.environment.first_group)

    @property
    def group_arns(self) -> tuple[str, ...]:
        """ARNs of the thing groups that there are: the fleet's, and the canaries', also former ones'."""
        iot, environment = self.client("iot"), self.environment
        return tuple(
            self.arn_of_group(name)
            for name in (environment.canary_group, environment.thing_group)
            if exists(functools.partial(iot.describe_thing_group, thingGroupName=name))
        )

    def arn_of_group(self, name: str) -> str:
        """ARN of one of the environment's thing groups."""
        place = f"{self.environment.region}:{self.environment.account}"
        return f"arn:{self.partition}:iot:{place}:thinggroup/{name}"

    @property
    def partition(self) -> str:
        """The AWS partition of the region, such as `aws-cn`."""
        return str(boto3.Session().get_partition_for_region(self.environment.region))

    def check_account(self) -> None:
        """Hold the caller's account against the environment's.

        Raises:
            RefusedError: they differ.
        """
        identity = self.client("sts").get_caller_identity()
        if identity["Account"] != self.environment.account:
            variable = account_variable(self.environment.name)
            raise RefusedError(
                f"{self.environment.name}: {variable} is {self.environment.account}, but the credentials in use belong "
                f"to account {identity['Account']} ({identity['Arn']}): choose another AWS_PROFILE or {variable}"
            )

    def stack_status(self, name: str) -> str | None:
        """CloudFormation's status of a stack, or None where there is none."""
        stack = self._stack(name)
        return None if stack is None else str(stack["StackStatus"])

    def is_to_be_made(self, name: str) -> bool:
        """Whether the CDK would make the stack anew: there is none, or a first deployment failed."""
        return self.stack_status(name) in {None, "REVIEW_IN_PROGRESS", "ROLLBACK_COMPLETE"}

    def stack_outputs(self, name: str) -> dict[str, str]:
        """The outputs of a stack, none where there is no such stack."""
        stack = self._stack(name) or {}
        return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}

    def _stack(self, name: str) -> Any:
        try:
            return self.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
        except ClientError as error:
            if code_of(error) == "ValidationError" and "does not exist" in str(error):
                return None
            raise

    def check_idle(self) -> None:
        """See that nobody is deploying the environment.

        Raises:
            RefusedError: a stack is in the middle of a change.
        """
        for name in (*self.stack_names, *self.former_stack_names):
            status = self.stack_status(name) or ""
            if status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS":
                raise RefusedError(f"{name}: is {status}: wait until CloudFormation is done, then try again")


def account_variable(name: str) -> str:
    """The variable that names an environment's account."""
    return f"EDGE_{name.upper().replace('-', '_')}_ACCOUNT"


def load_target(name: str, *, say: Say, variables: Mapping[str, str]) -> Target:
    """The target of an operation; makes no call yet.

    Args:
        name: of the environment.
        say: shows a person a line.
        variables: of the process: they name account and region.

    Raises:
        RefusedError: there is no such environment, or its account is not told.
        EnvironmentFileError: its file is wrong.
    """
    path = ENVIRONMENTS / f"{name}.toml"
    variables = {key: value for key, value in variables.items() if value}  # one that is empty is not set
    names = [found.stem for found in sorted(ENVIRONMENTS.glob("*.toml"))]
    if name not in names:
        raise RefusedError(f"environment {name!r}: one of {', '.join(names)} is expected (ENV=...)")
    environment = load_environment(path, variables=variables)
    if environment.account == DOCUMENTATION_ACCOUNT:
        variable = account_variable(name)
        told = "is not set" if variable not in variables else "is AWS's account number for documentation"
        raise RefusedError(
            f"{name}: {variable} {told}: set it to your account, and {variable.replace('_ACCOUNT', '_REGION')} "
            f"to your region if that is not {environment.region}"
        )
    session: Any = boto3.Session(region_name=environment.region)
    return Target(environment=environment, client=session.client, say=say)
