# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

from edge_image_classification.task import ImageClassification
from edge_inference.main import entry

if __name__ == "__main__":
    entry(ImageClassification(), artifact=Path(__file__).parent)
