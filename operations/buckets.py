# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from http import HTTPStatus

from botocore.exceptions import ClientError

from operations.errors import RefusedError
from operations.target import Target


def bucket_exists(target: Target, name: str) -> bool:
    """Whether the account has a bucket.

    Raises:
        RefusedError: the name is taken by another account.
    """
    try:
        target.client("s3").head_bucket(Bucket=name, ExpectedBucketOwner=target.environment.account)
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status == HTTPStatus.NOT_FOUND:
            return False
        if status == HTTPStatus.FORBIDDEN:
            raise RefusedError(
                f"bucket {name}: access to it is denied: it belongs to another account, or these credentials lack "
                "s3:ListBucket; give the environment another namespace in the first case"
            ) from error
        raise
    return True
