# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import aws_cdk as cdk
from constructs import Construct


def regional_arn(scope: Construct, service: str, resource: str) -> str:
    """The ARN of what a service holds in the account, region and partition of the stack around `scope`.

    Args:
        scope: a construct in that stack.
        service: its name in ARNs, such as `iot`.
        resource: the rest, such as `thinggroup/dev-fleet`, or a pattern.
    """
    stack = cdk.Stack.of(scope)
    return f"arn:{stack.partition}:{service}:{stack.region}:{stack.account}:{resource}"


def object_arn(scope: Construct, uri: str) -> str:
    """The ARN of a bucket, an object or a pattern of objects by its `s3://` address, in the stack's partition."""
    return f"arn:{cdk.Stack.of(scope).partition}:s3:::{uri.removeprefix('s3://')}"
