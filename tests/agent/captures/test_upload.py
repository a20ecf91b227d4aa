# SPDX-License-Identifier: Apache-2.0
"""The upload of what the destination ``Disk`` left: each file once, and nothing that is not the captures'."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edge_agent.captures.destinations import DeliveryError, Disk, File, NoRoomError
from edge_agent.captures.folders import DiskFolders
from edge_agent.captures.pipeline import Pipeline
from edge_agent.captures.room import DiskRoom
from edge_agent.captures.upload import DiskUploader
from tests.agent.captures.doubles import (
    CutError,
    Store,
    disk_bytes,
    make_capture,
    make_settings,
    make_spool,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge_agent.settings import Settings


def make_uploader(work: Path, parameters: Settings, store: Store, *, counted: list[str] | None = None) -> DiskUploader:
    folders = DiskFolders(work / "disk_folders.json").use(parameters)
    names = [] if counted is None else counted
    return DiskUploader(folders, store, period=1.0, count=lambda name, _: names.append(name))


def write_batch(fleet: Path, name: str) -> None:
    """A manifest with two files, as far as the uploader looks."""
    fleet.mkdir(parents=True, exist_ok=True)
    files = [fleet / f"{name}-{number}" for number in (0, 1)]
    for file in files:
        file.write_bytes(b"data")
    record = {"deviceFleetInputs": [{"data-ref": f"file://{file}"} for file in files]}
    (fleet / f"{name}.jsonl").write_text(json.dumps(record) + "\n")


def names(store: Store) -> list[str]:
    return sorted(key.rpartition("/")[2] for key in store.objects)


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
    uploader = make_uploader(tmp_path, parameters, store)
    if cut_at is not None:
        with pytest.raises(CutError):
            uploader.upload(manifest, parameters.capture_data_disk_path)
        store.cut_at = None
    if manifest.exists():
        uploader.upload(manifest, parameters.capture_data_disk_path)
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
    uploader = make_uploader(tmp_path, parameters, store)
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
    uploader = make_uploader(tmp_path, parameters, store)
    uploader._due = 0
    assert uploader._step()
    assert (tmp_path / "secret").read_bytes() == b"mine"
    assert evil.exists()
    assert not store.objects


@pytest.mark.parametrize("fault", ["directory", "pipe", "loop", "manifest"])
def test_what_cannot_be_read_is_set_aside_whole_and_the_later_ones_go_on(
    tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    parameters = make_settings(tmp_path, CaptureDataDestination="Disk", CaptureDataPeriodicUpload="true")
    root, store, counted = parameters.capture_data_disk_path, Store(), list[str]()
    fleet = root / parameters.folder_prefix / parameters.device_fleet_name
    write_batch(fleet, "a")
    write_batch(fleet, "b")
    broken = fleet / ("a.jsonl" if fault == "manifest" else "a-1")
    content = broken.read_bytes()
    broken.unlink()
    if fault == "pipe":
        os.mkfifo(broken)
    elif fault in {"loop", "manifest"}:  # an error of the file system itself, also for root
        broken.symlink_to(broken)
    else:
        broken.mkdir()
    uploader = make_uploader(tmp_path, parameters, store, counted=counted)
    for _ in range(2):
        uploader._due = 0
        assert uploader._step()
    assert names(store) == ["b-0", "b-1", "b.jsonl"]
    assert counted == ["uploads_set_aside"]
    (told,) = [one for one in caplog.records if one.getMessage() == "upload_set_aside"]
    assert str(broken) in told.__dict__["fields"]["error"]
    assert (fleet / "a-0").exists()
    if fault == "directory":
        broken.rmdir()
    else:
        broken.unlink()
    broken.write_bytes(content)  # somebody mends it
    uploader._due = 0
    assert uploader._step()
    assert {"a-0", "a-1", "a.jsonl"} < set(names(store))
    assert not [path for path in fleet.rglob("*") if path.is_file()]


class PickyStore(Store):
    """A bucket that refuses some manifests, as a policy or a lock may."""

    def __init__(self, refused: set[str]) -> None:
        super().__init__()
        self.refused = refused

    def put(self, files: Iterable[File]) -> None:
        for file in files:
            if file.key.rpartition("/")[2] in self.refused:
                raise DeliveryError(f"{file.key}: AccessDenied")
            super().put([file])


def test_manifests_that_the_bucket_refuses_hold_up_no_others(tmp_path: Path) -> None:
    parameters = make_settings(tmp_path, CaptureDataDestination="Disk", CaptureDataPeriodicUpload="true")
    refused = {f"{number}.jsonl" for number in range(5)}
    store = PickyStore(refused)
    fleet = parameters.capture_data_disk_path / parameters.folder_prefix / parameters.device_fleet_name
    for number in range(7):
        write_batch(fleet, str(number))
    uploader = make_uploader(tmp_path, parameters, store)
    for _ in range(2):  # three are tried in vain in each pass
        uploader._due = 0
        with pytest.raises(DeliveryError, match="AccessDenied"):
            uploader._step()
    assert {"5.jsonl", "6.jsonl"} <= set(names(store))
    assert {path.name for path in fleet.glob("*.jsonl")} == refused
    store.refused.clear()
    for _ in range(2):
        uploader._due = 0
        uploader._step()
    assert not [path for path in fleet.rglob("*") if path.is_file()]


@pytest.mark.parametrize("change", ["FolderPrefix", "DeviceFleetName", "CaptureDataDiskPath"])
def test_captures_under_former_parameters_are_uploaded_and_counted(tmp_path: Path, change: str) -> None:
    former, now = (
        make_settings(tmp_path, CaptureDataDestination="Disk", CaptureDataPeriodicUpload="true", **{change: value})
        for value in ("one", "two")
    )
    spool = make_spool(tmp_path / "spool")
    spool.add(make_capture("a"))
    pipeline = Pipeline(spool, former)
    pipeline._batcher.stop()
    pipeline._batch()
    pipeline._deliver()
    (manifest,) = former.capture_data_disk_path.rglob("*.jsonl")
    key = manifest.relative_to(former.capture_data_disk_path).as_posix()
    folders = DiskFolders(spool.root / "disk_folders.json").use(now)  # after a restart with other parameters
    assert [folder.path for folder in folders] == [
        one.capture_data_disk_path / one.folder_prefix / one.device_fleet_name for one in (now, former)
    ]
    room = DiskRoom(now.capture_data_disk_path, [folder.path for folder in folders], disk_bytes(tmp_path / "capture"))
    with pytest.raises(NoRoomError):
        room.reserve([File("x", bytes(1 << 20))])
    store = Store()
    uploader = DiskUploader(folders, store, period=1.0)
    uploader._due = 0
    assert uploader._step()
    assert key in store.objects
    assert not list(former.capture_data_disk_path.rglob("*.jsonl"))
    shutil.rmtree(former.capture_data_disk_path)
    assert len(DiskFolders(spool.root / "disk_folders.json").use(now)) == 1


def test_folders_that_cannot_be_remembered_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "disk_folders.json").mkdir()
    parameters = make_settings(tmp_path, CaptureDataDestination="Disk")
    assert len(DiskFolders(tmp_path / "disk_folders.json").use(parameters)) == 1
    assert [one.getMessage() for one in caplog.records] == ["disk_folders_unreadable", "disk_folders_not_saved"]
