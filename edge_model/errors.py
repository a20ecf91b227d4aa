# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations


class ModelCommandError(Exception):
    """The command cannot do what it was asked to. The message names the thing, expectation, finding and remedy."""
