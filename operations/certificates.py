# SPDX-License-Identifier: Apache-2.0
"""Device certificates: made for one device each, beside CloudFormation, so that no template ever holds a key."""

from __future__ import annotations

from operations.errors import tolerating
from operations.greengrass import pages
from operations.target import Target


def release_thing(target: Target, thing: str) -> list[str]:
    """Detach the certificates of a thing, and delete those that serve no other.

    Returns:
        Ids of the deleted certificates.
    """
    iot = target.client("iot")
    deleted = []
    arns: list[str] = []
    with tolerating("ResourceNotFoundException"):
        arns = pages(iot, "list_thing_principals", "principals", thingName=thing)
    for arn in arns:
        iot.detach_thing_principal(thingName=thing, principal=arn)
        if ":cert/" in arn and not pages(iot, "list_principal_things", "things", principal=arn):
            certificate_id = arn.rpartition("/")[2]
            delete_certificate(target, certificate_id, arn)
            deleted.append(certificate_id)
    return deleted


def release_policy(target: Target, policy: str) -> list[str]:
    """Detach a policy from whatever it is still attached to, and return the ARNs of that."""
    iot = target.client("iot")
    arns: list[str] = []
    with tolerating("ResourceNotFoundException"):
        arns = pages(iot, "list_targets_for_policy", "targets", policyName=policy)
    for arn in arns:
        iot.detach_policy(policyName=policy, target=arn)
    return arns


def delete_certificate(target: Target, certificate_id: str, arn: str) -> None:
    """Deactivate a certificate that is attached to no thing, take its policies off and delete it."""
    iot = target.client("iot")
    for policy in pages(iot, "list_attached_policies", "policies", target=arn):
        iot.detach_policy(policyName=policy["policyName"], target=arn)
    with tolerating("ResourceNotFoundException"):
        iot.update_certificate(certificateId=certificate_id, newStatus="INACTIVE")
        iot.delete_certificate(certificateId=certificate_id)
