# SPDX-License-Identifier: Apache-2.0
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Source roots, not packages: see app.py.
COMPONENTS = ("image_classification", "object_detection", "common")
sys.path[:0] = [str(ROOT / "constructs"), *(str(ROOT / "component_src" / name) for name in COMPONENTS)]

from edge_model.cli import main  # noqa: E402 -- after the paths that it needs

sys.exit(main())
