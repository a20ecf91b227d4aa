# SPDX-License-Identifier: Apache-2.0
"""The last good release, kept in SSM: written when a release passed verification, read to return to it."""

from __future__ import annotations

from botocore.exceptions import ClientError

from operations.declared import declared, groups_of
from operations.documents import Document, decode, encode
from operations.errors import OperationError, RefusedError, code_of
from operations.judgement import judge_group
from operations.target import Target


def read_last_good(target: Target) -> dict[str, Document] | None:
    """The deployment documents of the last good release by thing group; None when no release ever was one.

    Raises:
        OperationError: there is a record, but it cannot be read.
    """
    try:
        parameter = target.client("ssm").get_parameter(Name=target.environment.last_good_parameter)["Parameter"]
    except ClientError as error:
        if code_of(error) != "ParameterNotFound":
            raise
        return None
    return decode(parameter["Value"])


def promote(target: Target, *, writer: Target) -> None:
    """Keep what is deployed as the last good release; whether it is good, `verify` tells.

    Args:
        target: the environment, and clients that may read it.
        writer: the same with clients that may write the record.

    Raises:
        RefusedError: what the stacks declare is not what the groups were told last; nothing was written.
        OperationError: it is too large to be kept.
    """
    documents: dict[str, Document] = {}
    for group in groups_of(target):
        release = declared(target, group)
        if findings := list(judge_group(release)):
            raise RefusedError("not kept as the last good release: " + "; ".join(map(str, findings)))
        documents[group.name] = release.document
    name = target.environment.last_good_parameter
    value = encode(documents)
    writer.client("ssm").put_parameter(
        Name=name,
        Value=value,
        Type="String",
        Overwrite=True,
        Tier="Intelligent-Tiering",  # standard, or advanced if it is longer than that takes, or was so before
        Description="Deployment documents of the release that passed verification last",
    )
    target.say(f"kept as the last good release: {len(value)} bytes in {name}")


def last_good_or_fail(target: Target) -> dict[str, Document]:
    """The last good release.

    Raises:
        OperationError: there is none.
    """
    documents = read_last_good(target)
    if documents is None:
        raise OperationError(
            f"{target.environment.name}: there is no last good release to restore: no release has passed verification "
            f"yet ({target.environment.last_good_parameter} does not exist in SSM). Devices go on with what they have; "
            "fix forward, and release that"
        )
    return documents
