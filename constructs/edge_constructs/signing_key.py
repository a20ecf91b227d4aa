# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
import aws_cdk.aws_iam as iam
import aws_cdk.aws_kms as kms
import aws_cdk.aws_logs as logs
from constructs import Construct

from edge_constructs.acknowledge import acknowledge
from edge_constructs.arns import regional_arn
from edge_constructs.custom_resource import CustomResourceProvider

# Not when a first deployment fails: nothing is signed yet, and the next one would fail on the alias.
_KEPT = cdk.RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE


class SigningKey(Construct):
    """A KMS key that signs packages; devices hold its public half. It is kept when its stack goes.

    Args:
        scope: the construct it stands in.
        id_: its id there.
        alias_name: `alias/…`, by which other stacks know it.
    """

    def __init__(self, scope: Construct, id_: str, *, alias_name: str) -> None:
        super().__init__(scope, id_)
        self.key = kms.Key(
            self,
            "Key",
            description=f"Signs model packages as {alias_name}.",
            key_spec=kms.KeySpec.ECC_NIST_P256,
            key_usage=kms.KeyUsage.SIGN_VERIFY,
            removal_policy=_KEPT,
        )
        # Kept as well: a rollback of another stack must still find the key that it signed with.
        self.key.add_alias(alias_name).apply_removal_policy(_KEPT)


class SigningPublicKeys(Construct):
    """The public halves of signing keys, known at deploy time.

    Args:
        scope: the construct it stands in.
        id_: its id there.
        keys: ARNs of KMS aliases.
        log_retention: of the handler's logs.
    """

    def __init__(self, scope: Construct, id_: str, *, keys: Sequence[str], log_retention: logs.RetentionDays) -> None:
        super().__init__(scope, id_)
        provider = CustomResourceProvider(
            self,
            "Handler",
            handler="signing_key_handler",
            statements=[allow_by_alias(self, "ReadPublicKeys", ["kms:GetPublicKey"], keys)],
            log_retention=log_retention,
        )
        acknowledge_alias(provider)
        resource = cdk.CustomResource(
            self,
            "Keys",
            resource_type="Custom::SigningPublicKeys",
            service_token=provider.service_token,
            service_timeout=cdk.Duration.minutes(5),
            properties={"SigningKeys": list(keys)},
        )
        self.public_keys = [resource.get_att_string(f"PublicKey{index}") for index in range(len(keys))]


def alias_arn(scope: Construct, alias_name: str) -> str:
    """The ARN of an alias in the stack's account and region."""
    return regional_arn(scope, "kms", alias_name)


def allow_by_alias(scope: Construct, sid: str, actions: list[str], aliases: Sequence[str]) -> iam.PolicyStatement:
    """Leave to use keys by these aliases (ARNs): KMS knows no aliases as resources, but as a condition."""
    return iam.PolicyStatement(
        sid=sid,
        actions=actions,
        resources=[alias_arn(scope, "key/*")],
        conditions={"StringEquals": {"kms:RequestAlias": [alias.rpartition(":")[2] for alias in aliases]}},
    )


def acknowledge_alias(provider: CustomResourceProvider) -> None:
    """Accept a statement of `allow_by_alias`."""
    acknowledge(
        provider,
        rule=f"AwsSolutions-IAM5[Resource::{alias_arn(provider, 'key/*')}]",
        reason="Nothing that rotates crosses stacks as an export: the condition on the alias is the bound.",
    )
