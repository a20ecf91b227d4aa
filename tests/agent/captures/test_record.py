# SPDX-License-Identifier: Apache-2.0
"""Records at their bounds: limits, names and damage. Their exact bytes stand in golden/, see test_golden."""

from __future__ import annotations

import base64
import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.captures import capture, record
from edge_agent.captures.plan import Member, Plan

UUID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
BATCH = "0" * 31 + "1"
HEADER = capture.Header(capture_id=UUID, model_name="digits", model_version="1.0", inference_time=1_700_003_599)
PLAN = Plan(
    id=BATCH,
    folder="sme-capture/dev-fleet/digits/2023/11/14/23",
    fleet="dev-fleet",
    device="dev-device-1",
    embed_limit=4,
    members=(Member("0000000000000001.capture", UUID),),
)
SMALL = capture.Item(capture.INPUTS, "x", "Tensor[FLOAT32; 1, 1]", "NONE", b"\x00\x00\x80?")
LARGE = capture.Item(capture.OUTPUTS, "y/0", "Tensor[UINT8; 5]", "NONE", b"12345")


def test_an_empty_prefix_is_no_folder() -> None:
    assert record.folder(prefix="", fleet="f", header=HEADER) == "f/digits/2023/11/14/23"


@pytest.mark.parametrize(("size", "embedded"), [(3071, True), (3072, True), (3073, False)])
def test_the_limit_itself_is_embedded(size: int, embedded: bool) -> None:  # noqa: FBT001 # a parameter of the case
    item = dataclasses.replace(SMALL, data=bytes(size))
    plan = dataclasses.replace(PLAN, embed_limit=3072)
    line, side_files = record.render(capture.Capture(HEADER, [item]), plan, position=0, reference=str)
    (entry,) = json.loads(line)["deviceFleetInputs"]
    assert ("data" in entry, "data-ref" in entry, len(side_files)) == (embedded, not embedded, not embedded)


def test_ids_that_are_not_unique_in_the_world_give_files_that_are() -> None:
    header = dataclasses.replace(HEADER, capture_id="capture:" + "1" * 200)
    names = []
    for position, plan in [(0, PLAN), (1, PLAN), (0, dataclasses.replace(PLAN, id="f" * 32))]:
        _, (side_file,) = record.render(capture.Capture(header, [LARGE]), plan, position=position, reference=str)
        names.append(side_file.key.rsplit("/", 1)[1])
    assert len(set(names)) == 3
    assert all(len(name) < 256 and "capture_111" in name for name in names)


ITEMS = st.builds(
    capture.Item,
    kind=st.sampled_from(capture.LISTS),
    name=st.text(st.characters(codec="utf-8"), max_size=300),
    content_type=st.text(st.characters(codec="utf-8"), max_size=10),
    encoding=st.sampled_from(["NONE", "CSV", "JSON"]),
    data=st.binary(max_size=12),
)
CAPTURES = st.builds(capture.Capture, header=st.just(HEADER), items=st.lists(ITEMS, max_size=5))


def beside(index: int) -> Path:
    """The file of a larger payload, which none of these has."""
    return Path(f"{index}.payload")


@given(CAPTURES)
def test_a_capture_survives_the_spool(one: capture.Capture) -> None:
    content = capture.encode(one).content
    assert capture.decode(content, payload=beside) == one
    assert capture.decode_header(content.partition(b"\n")[0]) == HEADER


@given(CAPTURES, st.data())
def test_a_damaged_capture_is_recognised(one: capture.Capture, data: st.DataObject) -> None:
    content = capture.encode(one).content
    with pytest.raises(capture.UnreadableCaptureError):
        capture.decode(content[: data.draw(st.integers(0, max(content.index(b"\n") - 1, 0)))], payload=beside)
    payload = content.index(b"\n") + 1
    if payload < len(content):
        damaged = bytearray(content)
        damaged[data.draw(st.integers(payload, len(content) - 1))] ^= 0x40
        with pytest.raises(capture.UnreadableCaptureError):
            capture.decode(bytes(damaged), payload=beside)


@given(CAPTURES)
def test_a_consumer_finds_every_payload_under_a_key_of_its_own(one: capture.Capture) -> None:
    line, side_files = record.render(one, PLAN, position=0, reference=str)
    files = {side_file.key: side_file.data for side_file in side_files}
    assert len(files) == len(side_files)
    found = json.loads(line)
    for kind in capture.LISTS:
        items = [item for item in one.items if item.kind == kind]
        entries = found[f"deviceFleet{kind}"]
        assert [item.name for item in items] == [entry["name"] for entry in entries]
        for item, entry in zip(items, entries, strict=True):
            data = base64.b64decode(entry["data"]) if "data" in entry else files[entry["data-ref"]]
            assert data == item.data
    assert all(len(part.encode()) < 256 for key in files for part in key.split("/"))
