# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import aws_cdk as cdk
from constructs import IConstruct

_SENTENCE = 20  # characters; shorter ones never were a reason


def acknowledge(scope: IConstruct, *, rule: str, reason: str) -> None:
    """Accept a finding of cdk-nag's AwsSolutions pack, at the narrowest construct that it stands on.

    Args:
        scope: the construct that the finding is about, or the nearest one above it that we create.
        rule: the finding's exact id, such as `AwsSolutions-S1` or `AwsSolutions-IAM5[Resource::*]`.
        reason: a sentence for the reviewer.

    Raises:
        ValueError: the reason is no sentence.
    """
    if len(reason) < _SENTENCE or not reason.endswith("."):
        raise ValueError(f"{scope.node.path}: {rule}: the reason must be a sentence for a reviewer, got {reason!r}")
    # The namespaced id keeps the finding in the report, as suppressed and with its reason; the bare one erases it.
    cdk.Validations.of(scope).acknowledge(cdk.Acknowledgment(id=f"AwsSolutions::{rule}", reason=reason))
