# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from operations.errors import OperationError
from operations.last_good import promote
from operations.restore import restore
from operations.target import Target
from operations.verify import Clock, VerificationError, verify


def pass_gate(
    target: Target,
    *,
    writer: Target,
    first: bool,
    restoring: bool,
    recording: bool,
    clock: Clock | None = None,
    wait_seconds: float | None = None,
) -> None:
    """Verify a release, and do what follows from it.

    What cannot be looked at, because AWS does not answer, is neither good nor bad: then nothing is restored.

    Args:
        target: the environment, and clients that may read it.
        writer: the same with clients that may record and restore.
        first: only the group that the release reaches first.
        restoring: whether the last good release is restored if this one is not verified.
        recording: whether this one is the last good release if it is verified.
        clock: the machine's.
        wait_seconds: for the verification, and again for a restore; the environment's by default.

    Raises:
        VerificationError: the release is not verified; the message says whether the former one is restored.
    """
    try:
        verify(target, first=first, clock=clock, wait_seconds=wait_seconds)
    except VerificationError as error:
        if not restoring:
            raise
        target.say(str(error))
        try:
            restored = restore(target, writer=writer, clock=clock, wait_seconds=wait_seconds)
        except OperationError as second:
            raise VerificationError(f"{error}\nNot restored: {second}") from error
        told = "The last good release runs again" if restored else "All groups have the last good release already"
        raise VerificationError(
            f"{error}\n{told}. The same release cannot pass any more: revert the commit, or fix forward"
        ) from error
    if recording:
        promote(target, writer=writer)
