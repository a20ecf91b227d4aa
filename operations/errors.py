# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from botocore.exceptions import ClientError


class OperationError(Exception):
    """An operation failed on its way; the message says what was done already and what to do now."""


class RefusedError(OperationError):
    """An operation was not begun: nothing has changed."""


def code_of(error: ClientError) -> str:
    """The error code of an AWS service."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def tolerating(*codes: str) -> Iterator[None]:
    """Pass over the errors with these codes: what they complain of is the state that is wanted."""
    try:
        yield
    except ClientError as error:
        if code_of(error) not in codes:
            raise


def exists(describe: Callable[[], object]) -> bool:
    """Whether what a call describes is there."""
    try:
        describe()
    except ClientError as error:
        if code_of(error) != "ResourceNotFoundException":
            raise
        return False
    return True
