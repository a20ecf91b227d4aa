# SPDX-License-Identifier: Apache-2.0
"""What the agent refuses, and why: one class for each status of the contract. No gRPC here."""

from __future__ import annotations


class RefusedError(Exception):
    """A request that the agent refuses; the message is for the caller."""


class InvalidArgumentError(RefusedError):
    """The request contradicts the contract or the model."""


class NotFoundError(RefusedError):
    """The model, package or capture does not exist."""


class AlreadyExistsError(RefusedError):
    """The handle or capture id is taken."""


class FailedPreconditionError(RefusedError):
    """The package, the network or the disk is not as it must be."""


class UntrustedPackageError(FailedPreconditionError):
    """The package was altered, or no trusted key vouches for it."""


class UnreadablePackageError(FailedPreconditionError):
    """The package is there, and cannot be read."""


class ResourceExhaustedError(RefusedError):
    """A bound of the agent is reached."""


class OutOfRangeError(RefusedError):
    """A timestamp lies in the future."""


class UnsupportedError(RefusedError):
    """The contract has it, the agent on this machine does not."""


class DeadlineExceededError(RefusedError):
    """The caller's time is over."""


class CancelledError(RefusedError):
    """The caller is gone."""
