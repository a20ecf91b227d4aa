# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import boto3

from operations.bootstrap import bootstrap_command, check_bootstrapped, load_told_delivery
from operations.buckets import bucket_exists
from operations.cdk import Cdk
from operations.declared import ROLLOUT, groups_of
from operations.errors import OperationError, RefusedError
from operations.greengrass import core_devices
from operations.signing_aliases import check_signing_aliases
from operations.target import PROTECTED, Say, Target
from operations.verify import VerificationError, verify
from stacks.delivery_settings import DOCUMENTATION_CONNECTION

# Verifies an environment, the first group alone if told.
Verify = Callable[[bool], None]
PIPELINE = "Delivery"


def deploy(target: Target, *, cdk: Cdk, approved: bool, verifying: Verify | None = None) -> None:
    """Deploy an environment with the CDK, group after group, and verify each.

    Args:
        target: the environment and its account.
        cdk: the CDK CLI.
        approved: whether changes of permissions need no question, and a protected environment may be deployed at all.
        verifying: how devices are verified.

    Raises:
        RefusedError: the environment may not be deployed so; nothing was changed.
        OperationError: the CDK failed, or the release is not verified.
    """
    environment = target.environment
    if environment.name in PROTECTED and not approved:
        raise RefusedError(f"{environment.name}: is deployed with APPROVE=yes only")
    target.check_account()
    check_bootstrapped(
        target.client("ssm"),
        name=environment.name,
        account=environment.account,
        region=environment.region,
        command=bootstrap_command(environment.account, environment.region),
    )
    target.check_idle()
    check_signing_aliases(target)
    options = ["--require-approval=never"] if approved else []
    if kept := _kept_buckets(target):
        target.say(f"taking back what a former deployment left: {', '.join(kept)}")
        options.append("--import-existing-resources")
    target.say(f"deploying {environment.name} to account {environment.account} in {environment.region}")
    check = verifying or (lambda first: verify(target, first=first))
    if not environment.canaries:
        cdk(["deploy", f"{environment.name}/*", *options])
        _verify(target, check, first=False)
        return
    prefix = f"{environment.namespace}-"
    names = [name.removeprefix(prefix) for name in target.stack_names]
    cdk(["deploy", *(f"{environment.name}/{name}" for name in names if name != ROLLOUT), *options])
    _verify(target, check, first=True)
    cdk(["deploy", f"{environment.name}/{ROLLOUT}", "--exclusively", *options])
    _verify(target, check, first=False)


def _verify(target: Target, check: Verify, *, first: bool) -> None:
    """Verify what devices there are: before the first of them is made, there is nothing that a release could break."""
    arns = [target.arn_of_group(group.name) for group in groups_of(target)]
    if not any(core_devices(target, arn) for arn in arns):
        target.say("no core device has reported yet, so nothing is verified; `make verify` does it once there are some")
        return
    try:
        check(first)
    except VerificationError as error:
        name = target.environment.name
        raise OperationError(
            f"{error}\nIt is deployed, and no other group gets it. `make restore ENV={name}` returns to the last good "
            "release; then revert, or fix forward"
        ) from error


def _kept_buckets(target: Target) -> list[str]:
    """Buckets that outlived their stack: CloudFormation would not make them again, but takes them in as they are."""
    environment = target.environment
    if not target.is_to_be_made(target.stack_names[0]):
        return []
    return [name for name in (environment.capture_bucket, environment.artifact_bucket) if bucket_exists(target, name)]


def deploy_pipeline(
    *,
    cdk: Cdk,
    variables: Mapping[str, str],
    say: Say,
    approved: bool,
    client: Callable[[str, str], Any] | None = None,
) -> None:
    """Deploy the delivery pipeline; from then on it changes itself.

    Args:
        cdk: the CDK CLI on the whole app.
        variables: of the process: they name accounts, regions and the connection.
        say: shows a person a line.
        approved: whether changes of permissions need no question.
        client: gives the boto3 client of a service in a region.

    Raises:
        RefusedError: it cannot be deployed so; nothing was changed.
        OperationError: the CDK failed.
    """
    delivery = load_told_delivery(variables)
    if delivery.connection == DOCUMENTATION_CONNECTION:
        raise RefusedError(
            "EDGE_DELIVERY_CONNECTION is not set: set it to the ARN of a connection to the repository that is "
            "AVAILABLE: console of CodePipeline, Settings, Connections"
        )
    client = client or _client
    identity = client("sts", delivery.region).get_caller_identity()
    if identity["Account"] != delivery.account:
        raise RefusedError(
            f"EDGE_DELIVERY_ACCOUNT is {delivery.account}, but the credentials in use belong to account "
            f"{identity['Account']} ({identity['Arn']}): choose another AWS_PROFILE or EDGE_DELIVERY_ACCOUNT"
        )
    check_bootstrapped(
        client("ssm", delivery.region),
        name="the pipeline",
        account=delivery.account,
        region=delivery.region,
        command=bootstrap_command(delivery.account, delivery.region),
    )
    say(f"deploying the pipeline to account {delivery.account} in {delivery.region}")
    cdk(["deploy", PIPELINE, *(["--require-approval=never"] if approved else [])])


def _client(service: str, region: str) -> Any:
    session: Any = boto3.Session(region_name=region)
    return session.client(service)
