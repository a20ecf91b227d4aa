# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import sys
from pathlib import Path

# The pinned Node beside this Python, as in app.py: pytest may be started without make.
NODE = Path(sys.executable).parent / "node"
if NODE.exists():
    os.environ.setdefault("JSII_NODE", str(NODE))
