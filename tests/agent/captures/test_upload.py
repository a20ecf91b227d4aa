# SPDX-License-Identifier: Apache-2.0
"""The upload of what the destination ``Disk`` left: each file once, and nothing that is not the captures'."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from edge_agent.captures.destinations import Disk
from edge_agent.captures.pipeline import Pipeline
from edge_agent.captures.upload import DiskUploader
from tests.agent.captures.doubles import (
    CutError,
    Store,
    make_capture,
    make_settings,
    make_spool,
)


@pytest.mark.parametrize("cut_at", [1, 2, 3, 4, None])
def test_everything_arrives_once_and_is_removed_however_often_it_is_cut_off(tmp_path: Path, cut_at: int | None) -> None:
    values = {"CaptureDataDestination": "Disk", "CaptureDataPeriodicUpload": "true"}
    spool, store = make_spool(tmp_path / "spool"), Store()
    parameters = make_settings(tmp_path, **values)
    spool.add(make_capture("a"))
    pipeline = Pipeline(spool, parameters, destination=Disk(parameters.capture_data_disk_path))
    pipeline._batcher.stop()
    pipeline._batch()
    pipeline._deliver()
    (manifest,) = parameters.capture_data_disk_path.rglob("*.jsonl")
    on_disk = json.loads(manifest.read_bytes())["deviceFleetInputs"][0]["data-ref"]
    assert Path(on_disk[len("file://") :]).read_bytes() == bytes(8)
    store.cut_at = cut_at
    uploader = DiskUploader(parameters.capture_data_disk_path, store, parameters)
    if cut_at is not None:
        with pytest.raises(CutError):
            uploader.upload(manifest)
        store.cut_at = None
    if manifest.exists():
        uploader.upload(manifest)
    assert store.ids() == {"a": 1}
    reference = store.records()[0]["deviceFleetInputs"][0]["data-ref"]
    assert store.objects[reference[len("s3://bucket/") :]] == bytes(8)
    assert not [path for path in parameters.capture_data_disk_path.rglob("*") if path.is_file()]


def test_folders_of_hours_that_are_over_go_when_they_are_empty(tmp_path: Path) -> None:
    parameters = make_settings(tmp_path, CaptureDataDestination="Disk", CaptureDataPeriodicUpload="true")
    root, store = parameters.capture_data_disk_path, Store()
    fleet = root / parameters.folder_prefix / parameters.device_fleet_name
    long_ago, now, full = (fleet / "digits/2001/01/01" / hour for hour in ("00", "01", "02"))
    for folder in (long_ago, now, full):
        (folder / "raw-data/input-tensors").mkdir(parents=True)
    (full / "raw-data/input-tensors/left").write_bytes(b"x")
    (full / "b.jsonl").write_bytes(b"{}\n")
    for path in [long_ago, *long_ago.rglob("*"), full]:
        os.utime(path, (0, 0))
    uploader = DiskUploader(root, store, parameters)
    for _ in range(3):  # a folder that lost its last folder just now is not an old one
        for path in [long_ago, long_ago / "raw-data"]:
            if path.exists():
                os.utime(path, (0, 0))
        uploader._due = 0
        uploader._step()
    assert not long_ago.exists()
    assert (now / "raw-data/input-tensors").is_dir()
    assert (full / "raw-data/input-tensors/left").exists()
    assert [key.rpartition("/")[2] for key in store.objects] == ["b.jsonl"]


@pytest.mark.parametrize("way", ["../../secret", "link/secret"])
def test_a_manifest_that_leads_elsewhere_takes_nothing_away(tmp_path: Path, way: str) -> None:
    parameters = make_settings(tmp_path / "work", CaptureDataDestination="Disk", CaptureDataPeriodicUpload="true")
    root, store = parameters.capture_data_disk_path, Store()
    fleet = root / parameters.folder_prefix / parameters.device_fleet_name
    fleet.mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"mine")
    (root / "link").symlink_to(tmp_path)
    evil = fleet / "evil.jsonl"
    evil.write_text(json.dumps({"deviceFleetInputs": [{"data-ref": f"file://{root}/{way}"}]}) + "\n")
    uploader = DiskUploader(root, store, parameters)
    uploader._due = 0
    assert uploader._step()
    assert (tmp_path / "secret").read_bytes() == b"mine"
    assert evil.exists()
    assert not store.objects
