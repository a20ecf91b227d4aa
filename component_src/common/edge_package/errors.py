# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations


class PackageError(Exception):
    """A package or archive is not what it must be; the message names the file, what was expected and what came."""
