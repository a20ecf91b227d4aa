# SPDX-License-Identifier: Apache-2.0
"""What is done to real accounts beside synthesising: deploy, destroy, prune, and the making of devices."""

import sys
from pathlib import Path

# Source roots, not packages: see app.py. What reads an environment's file is reached through them.
_ROOT = Path(__file__).parents[1]
for _folder in (_ROOT / "constructs", _ROOT / "component_src" / "common"):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))
