# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from operations.buckets import bucket_exists
from operations.cdk import Cdk, bootstrap_command
from operations.errors import RefusedError
from operations.target import PROTECTED, Target


def deploy(target: Target, *, cdk: Cdk, approved: bool) -> None:
    """Deploy an environment with the CDK.

    Args:
        target: the environment and its account.
        cdk: the CDK CLI.
        approved: whether changes of permissions need no question, and a protected environment may be deployed at all.

    Raises:
        RefusedError: the environment may not be deployed so; nothing was changed.
        OperationError: the CDK failed.
    """
    environment = target.environment
    if environment.name in PROTECTED and not approved:
        raise RefusedError(f"{environment.name}: is deployed with APPROVE=yes only")
    target.check_account()
    target.check_bootstrapped(bootstrap_command(environment.account, environment.region))
    target.check_idle()
    arguments = ["deploy", f"{environment.name}/*"]
    if approved:
        arguments.append("--require-approval=never")
    if kept := _kept_buckets(target):
        target.say(f"taking back what a former deployment left: {', '.join(kept)}")
        arguments.append("--import-existing-resources")
    target.say(f"deploying {environment.name} to account {environment.account} in {environment.region}")
    cdk(arguments)


def _kept_buckets(target: Target) -> list[str]:
    """Buckets that outlived their stack: CloudFormation would not make them again, but takes them in as they are."""
    environment = target.environment
    if target.stack_status(target.stack_names[0]) not in {None, "REVIEW_IN_PROGRESS", "ROLLBACK_COMPLETE"}:
        return []
    return [name for name in (environment.capture_bucket, environment.artifact_bucket) if bucket_exists(target, name)]
