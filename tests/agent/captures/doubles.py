# SPDX-License-Identifier: Apache-2.0
"""What the captures' tests share: a destination in memory, and captures, spools and parameters made short."""

from __future__ import annotations

import collections
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edge_agent import settings
from edge_agent.captures import capture
from edge_agent.captures.destinations import DeliveryError, File
from edge_agent.captures.pipeline import Pipeline
from edge_agent.captures.spool import Spool


class CutError(BaseException):
    """The process ends here."""


class Store:
    """A destination in memory that can be told to fail, or to end the process before or after a chosen step."""

    together = 1

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.failure = ""
        self.steps = 0
        self.cut_at: int | None = None

    def reference(self, key: str) -> str:
        return f"s3://bucket/{key}"

    def put(self, files: Iterable[File]) -> None:
        for file in files:
            if self.failure:
                raise DeliveryError(self.failure)
            self._step()
            with file.open() as stream:
                content = stream.read()
            assert self.objects.get(file.key, content) == content, "the same key came with other bytes"
            self.objects[file.key] = content
            self._step()

    def _step(self) -> None:
        self.steps += 1
        if self.steps == self.cut_at:
            raise CutError

    def records(self) -> list[dict[str, Any]]:
        manifests = [content for key, content in sorted(self.objects.items()) if key.endswith(".jsonl")]
        return [json.loads(line) for content in manifests for line in content.splitlines()]

    def ids(self) -> collections.Counter[str]:
        return collections.Counter(one["eventMetadata"]["eventId"] for one in self.records())


class Counts(dict[str, int]):
    def __call__(self, name: str, amount: int) -> None:
        self[name] = self.get(name, 0) + amount


HOUR = 3600


def make_settings(work: Path, **values: str) -> settings.Settings:
    given_values = {"DeviceFleetName": "fleet", "BucketName": "bucket", "CaptureDataBase64EmbedLimit": "4", **values}
    return settings.parse(given_values, device_name="device", work=work)


def make_spool(root: Path, *, max_pending: int = 100, max_bytes: int = 1 << 20, max_history: int = 100) -> Spool:
    return Spool(root, max_pending=max_pending, max_bytes=max_bytes, max_history=max_history)


def make_capture(capture_id: str, *, model: str = "digits", at: int = HOUR, size: int = 8) -> capture.Capture:
    header = capture.Header(capture_id=capture_id, model_name=model, model_version="1.0", inference_time=at)
    return capture.Capture(header, [capture.Item(capture.INPUTS, "x", f"Tensor[UINT8; {size}]", "NONE", bytes(size))])


def drain(spool: Spool, work: Path, store: Store, **values: str) -> None:
    """Do in this thread what the pipeline does in its own."""
    pipeline = Pipeline(spool, make_settings(work, **values), destination=store)
    pipeline._batcher.stop()
    while pipeline._batch():
        pass
    while spool.backlog()[1]:
        pipeline._deliver()


def records(root: Path) -> list[str]:
    """The ids of the captures below a disk path."""
    lines = [line for path in root.rglob("*.jsonl") for line in path.read_bytes().splitlines()]
    return sorted(json.loads(line)["eventMetadata"]["eventId"] for line in lines)


def disk_bytes(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
