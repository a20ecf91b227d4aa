# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from edge_agent.main import entry

if __name__ == "__main__":
    entry()
