# SPDX-License-Identifier: Apache-2.0
"""The CDK app: one Stage for each environment. All logic is in stacks/."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parent
# Source roots, not packages: an __init__.py in constructs/ would hide PyPI's `constructs`.
sys.path[:0] = [str(ROOT / "constructs"), str(ROOT / "component_src" / "common")]
# The pinned Node that lies beside this Python, whatever Node the machine has.
NODE = Path(sys.executable).parent / "node"
if NODE.exists():
    os.environ.setdefault("JSII_NODE", str(NODE))

from stacks.application import INPUT_ERRORS, build_app  # noqa: E402 -- after the paths that it needs

try:
    build_app().synth()
except INPUT_ERRORS as error:
    sys.exit(f"error: {error}")
