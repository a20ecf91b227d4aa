# SPDX-License-Identifier: Apache-2.0
"""What a change does to each environment, for its reviewer: `python -m change_report`, `make diff`."""

import os
import sys
from pathlib import Path

# Source roots, not packages: see app.py.
_ROOT = Path(__file__).parents[1]
for _folder in (_ROOT / "constructs", _ROOT / "component_src" / "common"):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))
# The pinned Node that lies beside this Python, whatever Node the machine has.
_NODE = Path(sys.executable).parent / "node"
if _NODE.exists():
    os.environ.setdefault("JSII_NODE", str(_NODE))
os.environ.setdefault("JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION", "1")
