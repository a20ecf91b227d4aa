# SPDX-License-Identifier: Apache-2.0
"""What consumers read: the keys of files, and the manifest's records."""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
import uuid
from typing import TYPE_CHECKING, Callable

from edge_agent.captures.capture import (
    AUXILIARY_INPUTS,
    AUXILIARY_OUTPUTS,
    INPUTS,
    LISTS,
    OUTPUTS,
)
from edge_agent.captures.destinations import File

if TYPE_CHECKING:
    from edge_agent.captures.capture import Capture, Header, Item
    from edge_agent.captures.plan import Plan

_FOLDERS = {
    INPUTS: "input-tensors",
    OUTPUTS: "output-tensors",
    AUXILIARY_INPUTS: "auxiliary-inputs",
    AUXILIARY_OUTPUTS: "auxiliary-outputs",
}
_LONGEST_PART = 64


def folder(*, prefix: str, fleet: str, header: Header) -> str:
    """Where a capture belongs: prefix, fleet, model and the UTC hour of its inference."""
    hour = dt.datetime.fromtimestamp(header.inference_time, dt.timezone.utc)
    parts = (prefix, fleet, header.model_name, hour.strftime("%Y/%m/%d/%H"))
    return "/".join(part for part in parts if part)


def render(capture: Capture, plan: Plan, *, position: int, reference: Callable[[str], str]) -> tuple[bytes, list[File]]:
    """Write a capture's record and the files beside it; the same arguments always give the same bytes.

    Args:
        capture: The capture.
        plan: The batch that it belongs to.
        position: Its place in the batch.
        reference: Makes the address of a file out of its key.

    Returns:
        The record, a line of JSON with its line feed; and the files.
    """
    side_files: list[File] = []
    lists: dict[str, list[dict[str, str]]] = {kind: [] for kind in LISTS}
    for item in capture.items:
        entry = {
            "mode": "Input" if item.kind in {INPUTS, AUXILIARY_INPUTS} else "Output",
            "name": item.name,
            "observedContentType": item.content_type,
        }
        if isinstance(item.data, bytes) and len(item.data) <= plan.embed_limit:
            entry["encoding"] = "BASE64" if item.encoding == "NONE" else item.encoding
            # A payload in base64 already is not encoded a second time.
            entry["data"] = (item.data if item.encoding == "BASE64" else base64.b64encode(item.data)).decode("ascii")
        else:
            name = _file_name(capture.header.capture_id, plan, position, len(lists[item.kind]), item)
            data = item.data if isinstance(item.data, bytes) else item.data.path
            side_file = File(f"{plan.folder}/raw-data/{_FOLDERS[item.kind]}/{name}", data)
            side_files.append(side_file)
            entry["encoding"] = item.encoding
            entry["data-ref"] = reference(side_file.key)
        lists[item.kind].append(entry)
    moment = dt.datetime.fromtimestamp(capture.header.inference_time, dt.timezone.utc)
    record = {
        **{f"deviceFleet{kind}": entries for kind, entries in lists.items()},
        "eventMetadata": {
            "deviceFleetName": plan.fleet,
            "deviceId": plan.device,
            "eventId": capture.header.capture_id,
            "inferenceTime": moment.strftime("%Y-%m-%dT%H:%M:%S"),
            "modelName": capture.header.model_name,
            "modelVersion": capture.header.model_version,
        },
        "eventVersion": "0",
    }
    return json.dumps(record, sort_keys=True, separators=(",", ":")).encode() + b"\n", side_files


def _file_name(capture_id: str, plan: Plan, position: int, index: int, item: Item) -> str:
    # Devices share the folder, so a name must be unique in the world. A UUID is; any other id is put after the batch's.
    unique = capture_id if _is_uuid(capture_id) else f"{plan.id}-{position}-{_plain(capture_id)}"
    return f"{unique}-{index}-{_plain(item.name)}"


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", text)[:_LONGEST_PART]
