# SPDX-License-Identifier: Apache-2.0
"""The short form of ``make soak``: the fuzzer's targets with what hypothesis makes of good messages."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.soak import targets
from edge_contract import agent_pb2, wire


@st.composite
def damaged(draw: st.DrawFn, name: str) -> bytes:
    message = bytearray(draw(st.sampled_from(targets.seeds()[name])))
    for _ in range(draw(st.integers(0, 4))):
        position = draw(st.integers(0, max(len(message) - 1, 0)))
        kind = draw(st.sampled_from(["cut", "drop", "insert", "change"]))
        if kind == "cut":
            del message[position:]
        elif kind == "insert" or not message:
            message[position:position] = draw(st.binary(max_size=12))
        elif kind == "drop":
            del message[position]
        else:
            message[position] = draw(st.integers(0, 255))
    return bytes(message)


@pytest.mark.parametrize("name", list(targets.TARGETS))
def test_hostile_bytes_are_read_or_refused(name: str) -> None:
    @settings(max_examples=400)
    @given(message=damaged(name) | st.binary(max_size=100))
    def run(message: bytes) -> None:
        targets.TARGETS[name](message)

    run()


@pytest.mark.parametrize("name", list(targets.TARGETS))
def test_the_good_messages_are_good(name: str) -> None:
    """Else the damaged ones would not get far."""
    for message in targets.seeds()[name]:
        targets.TARGETS[name](message)
        if name == "http2":
            continue
        kind = agent_pb2.CaptureDataRequest if name == "capture" else agent_pb2.PredictRequest
        assert kind.FromString(message).SerializeToString() == message


def test_a_disagreement_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    message = targets.seeds()["codec"][0]
    monkeypatch.setattr(wire, "parse_predict_request", lambda _: wire.PredictRequest("", "", []))
    with pytest.raises(AssertionError, match="the codec reads"):
        targets.codec(message)
