# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations


class ReportError(Exception):
    """The report cannot be made; the message says why and what to do."""


class BaseError(ReportError):
    """BASE is not what it must be: a commit of this clone that holds snapshots."""
