# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

from edge_inference.main import entry
from edge_object_detection.task import ObjectDetection

if __name__ == "__main__":
    entry(ObjectDetection(), artifact=Path(__file__).parent)
