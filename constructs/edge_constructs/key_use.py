# SPDX-License-Identifier: Apache-2.0
"""Leave to use a KMS key, by its ARN or by its alias."""

from __future__ import annotations

import aws_cdk.aws_iam as iam
from constructs import Construct

from edge_constructs.acknowledge import acknowledge
from edge_constructs.arns import regional_arn

ENCRYPTING = ["kms:Decrypt", "kms:GenerateDataKey"]
"""What whoever writes an object in parts, and reads it again, asks of its key."""
_ALIAS = "alias/"


def key_statement(scope: Construct, sid: str, actions: list[str], key: str) -> iam.PolicyStatement:
    """Leave to use a key that S3 or SageMaker uses on the caller's behalf.

    Args:
        scope: for the account and the region of an alias.
        sid: of the statement.
        actions: of KMS.
        key: the ARN of a key, or `alias/name`: KMS knows no aliases as resources, but as a condition.
    """
    if not key.startswith(_ALIAS):
        return iam.PolicyStatement(sid=sid, actions=actions, resources=[key])
    # The services call KMS with the key's ARN, so the condition is on the key's aliases, not on the request's.
    condition = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": key}}
    return iam.PolicyStatement(sid=sid, actions=actions, resources=[_keys(scope)], conditions=condition)


def acknowledge_key(construct: Construct, key: str) -> None:
    """Accept a statement of `key_statement` in a role below `construct`."""
    if key.startswith(_ALIAS):
        acknowledge(
            construct,
            rule=f"AwsSolutions-IAM5[Resource::{_keys(construct)}]",
            reason="KMS knows no aliases as resources: the condition on the key's alias is the bound.",
        )


def _keys(scope: Construct) -> str:
    return regional_arn(scope, "kms", "key/*")
