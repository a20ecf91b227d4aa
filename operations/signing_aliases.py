# SPDX-License-Identifier: Apache-2.0
"""Aliases of signing keys that outlived their stack: CloudFormation would fail on them halfway."""

from __future__ import annotations

from operations.errors import RefusedError
from operations.greengrass import pages
from operations.target import Target


def check_signing_aliases(target: Target) -> None:
    """See that the stack Fleet can make the signing keys' aliases, or has made them.

    Raises:
        RefusedError: one is there without belonging to the stack; it names the ways out.
    """
    environment = target.environment
    if environment.edge_manager != "open":
        return
    stack = target.stack_names[0]
    there = {item["AliasName"]: item for item in pages(target.client("kms"), "list_aliases", "Aliases")}
    found = set(environment.signing_aliases) & there.keys()
    left = sorted(found - _aliases_of(target, stack)) if found else []
    if not left:
        return
    name, region = environment.name, environment.region
    lines = [f"{alias}: is there, but does not belong to {stack}, which would make it" for alias in left]
    lines.append("CloudFormation cannot make an alias twice. Either let a new key sign, and take the alias away first:")
    for alias in left:
        key = there[alias].get("TargetKeyId", "unknown")
        lines.append(f"  {delete_alias_command(alias, region)}  # of key {key}")
    lines.append(
        "The former key stays; it signs no more, and devices take what it signed only if its public key lies in their "
        "RootCertsPath (`aws kms get-public-key`). Or keep the key, and have it taken into the stack:\n"
        f"  node_modules/.bin/cdk import {name}/Fleet --context=env={name}\n"
        "with the key's id for the resource Key; confirm the alias, and each bucket that is there; skip all else"
    )
    raise RefusedError("\n".join(lines))


def delete_alias_command(alias: str, region: str) -> str:
    """What a person runs to take an alias off its key; the key stays."""
    return f"aws kms delete-alias --alias-name {alias} --region {region}"


def _aliases_of(target: Target, stack: str) -> set[str]:
    """The aliases that a stack holds; what a rollback or an update left behind is listed there still, but not held."""
    if target.is_to_be_made(stack):
        return set()
    client = target.client("cloudformation")
    return {
        item.get("PhysicalResourceId", "")
        for item in pages(client, "list_stack_resources", "StackResourceSummaries", StackName=stack)
        if item["ResourceType"] == "AWS::KMS::Alias" and not item["ResourceStatus"].startswith("DELETE_")
    }
