# SPDX-License-Identifier: Apache-2.0
"""The files of captures: whole or not there, and none left over."""

from __future__ import annotations

import errno
import json
import os
import zlib
from pathlib import Path
from typing import Any

import pytest

from edge_agent.captures import capture
from edge_agent.captures.store import CaptureFiles
from edge_agent.files import Group

HEADER = capture.Header(capture_id="a", model_name="digits", model_version="1.0", inference_time=3600)
SIZES = (3072, 3073, 5, 1 << 20)


def make_capture() -> capture.Capture:
    data = [bytes([number]) * size for number, size in enumerate(SIZES)]
    return capture.Capture(
        HEADER, [capture.Item(capture.INPUTS, f"x{len(one)}", "Tensor[UINT8]", "NONE", one) for one in data]
    )


def payloads(one: capture.Capture) -> list[bytes]:
    return [item.data if isinstance(item.data, bytes) else item.data.path.read_bytes() for item in one.items]


@pytest.fixture
def files(tmp_path: Path) -> CaptureFiles:
    return CaptureFiles(tmp_path / "pending")


def test_larger_payloads_lie_beside_their_capture(files: CaptureFiles) -> None:
    encoded = capture.encode(make_capture())
    files.write("0000000000000001.capture", encoded)
    assert payloads(files.read("0000000000000001.capture")) == payloads(make_capture())
    assert files.header("0000000000000001.capture") == HEADER
    assert sorted(path.name for path in files.directory.iterdir()) == [
        "0000000000000001-1.payload",
        "0000000000000001-3.payload",
        "0000000000000001.capture",
    ]
    sizes = [path.stat().st_size for path in files.directory.iterdir()]
    assert encoded.size == capture.PLAN_BYTES + sum(-(-size // 4096) * 4096 for size in sizes)
    files.remove("0000000000000001.capture")
    assert not list(files.directory.iterdir())


def test_a_restart_takes_over_captures_and_removes_what_is_none(files: CaptureFiles) -> None:
    encoded = capture.encode(make_capture())
    for name in ("0000000000000001.capture", "0000000000000002.capture"):
        files.write(name, encoded)
    (files.directory / "0000000000000002.capture").unlink()  # its removal was cut off
    (files.directory / "0000000000000003-0.payload").write_bytes(b"x")  # so was the writing of this one
    (files.directory / "0000000000000004.capture.part").write_bytes(b"x")
    again = CaptureFiles(files.directory)
    assert again.resume() == {"0000000000000001.capture": encoded.size}
    assert payloads(again.read("0000000000000001.capture")) == payloads(make_capture())
    again.remove("0000000000000001.capture")
    assert not list(files.directory.iterdir())


@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_a_damaged_payload_is_recognised_and_named(files: CaptureFiles, damage: str) -> None:
    files.write("0000000000000001.capture", capture.encode(make_capture()))
    path = files.directory / "0000000000000001-3.payload"
    content = path.read_bytes()
    path.write_bytes(content[:-1] if damage == "cut" else b"X" + content[1:])
    if damage == "gone":
        path.unlink()
    again = CaptureFiles(files.directory)  # after a power cut, say
    again.resume()
    with pytest.raises(capture.UnreadableCaptureError, match=r"0000000000000001-3\.payload"):
        again.read("0000000000000001.capture")


def test_a_capture_of_an_earlier_agent_is_read(files: CaptureFiles) -> None:
    payload = bytes(8000)
    head: dict[str, Any] = {
        "capture_id": "a",
        "model_name": "digits",
        "model_version": "1.0",
        "inference_time": 3600,
        "items": [["Inputs", "x", "Tensor[UINT8; 8000]", "NONE", 8000]],
        "crc32": zlib.crc32(payload),
    }
    (files.directory / "0000000000000001.capture").write_bytes(json.dumps(head).encode() + b"\n" + payload)
    assert files.resume() == {
        "0000000000000001.capture": capture.PLAN_BYTES + capture.on_disk(len(json.dumps(head)) + 8001)
    }
    assert payloads(files.read("0000000000000001.capture")) == [payload]


def test_a_full_disk_leaves_no_payload_behind(files: CaptureFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("edge_agent.captures.store.write_whole", full)
    with pytest.raises(OSError, match="No space"):
        files.write("0000000000000001.capture", capture.encode(make_capture()))
    assert not list(files.directory.iterdir())


class TestTake:
    """A disk takes a payload's file over under a second name."""

    @pytest.mark.parametrize("code", [None, errno.EXDEV, errno.EPERM, errno.EMLINK])
    def test_the_bytes_arrive_with_and_without_a_second_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int | None
    ) -> None:
        source, target = tmp_path / "source", tmp_path / "target"
        source.write_bytes(b"abc" * 1_000_000)
        if code is not None:

            def refuse(*_: object) -> None:
                raise OSError(code, os.strerror(code))

            monkeypatch.setattr(os, "link", refuse)
        for _ in range(2):  # a delivery that was cut off is repeated
            with Group() as group:
                group.take(target, source)
            assert target.read_bytes() == source.read_bytes()
            assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]
        assert (target.stat().st_ino == source.stat().st_ino) == (code is None)
        source.unlink()
        assert target.read_bytes() == b"abc" * 1_000_000

    def test_a_former_attempt_that_was_cut_off_is_replaced(self, tmp_path: Path) -> None:
        source, target = tmp_path / "source", tmp_path / "target"
        source.write_bytes(b"new")
        target.write_bytes(b"old")
        (tmp_path / "target.part").write_bytes(b"ol")
        with Group() as group:
            group.take(target, source)
        assert target.read_bytes() == b"new"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]

    def test_it_is_synced_before_it_has_its_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        source, target = tmp_path / "source", tmp_path / "target"
        source.write_bytes(b"x")
        synced: list[bool] = []
        real = os.fdatasync

        def fdatasync(descriptor: int) -> None:
            synced.append(target.exists())
            real(descriptor)

        monkeypatch.setattr(os, "fdatasync", fdatasync)
        with Group() as group:
            group.take(target, source)
        assert synced == [False]
