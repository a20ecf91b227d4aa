# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_constructs.heartbeat_message import Heartbeat, HeartbeatError, ModelBeat
from edge_constructs.heartbeat_record import Counts, Record, advance
from edge_constructs.heartbeat_table import decode, encode

DIGEST = "a" * 64
START = 1_800_000_000.0


def model(name: str = "digits", *, predictions: float = 0, digest: str = DIGEST, handle: str = "h") -> ModelBeat:
    metrics = {"Predictions": predictions, "PredictionsFailed": 0.0, "InferenceSeconds": predictions / 100}
    return ModelBeat(name, "1.0", digest, handle, "", metrics)


def beat(
    second: float,
    *models: ModelBeat,
    captures: float = 0,
    uptime: float | None = None,
    starts: float = 1,
    part: int = 1,
    parts: int = 1,
    received: float | None = None,
) -> Heartbeat:
    agent = {"CapturesRefused": captures, "UptimeSeconds": second if uptime is None else uptime, "AgentStarts": starts}
    return Heartbeat(
        device="dev-a",
        timestamp=START + second,
        received=START + (second if received is None else received),
        agent_version="1.0",
        part=part,
        parts=parts,
        agent=agent if part == 1 else {},
        models=models,
    )


def run(beats: Sequence[Heartbeat], record: Record | None = None) -> tuple[Record, float, float, float]:
    """The record after the messages, and what they counted: beats, refused captures, predictions."""
    seen = captures = predictions = 0.0
    for one in beats:
        record, counts = advance(record, one)
        record = {name: decode(encode(value)) for name, value in record.items()}  # as the table keeps it
        seen += counts.beats
        captures += counts.agent.get("CapturesRefused", 0)
        predictions += sum(found.metrics["Predictions"] for found in counts.models)
    assert record is not None
    return record, seen, captures, predictions


def test_what_was_counted_is_the_growth_of_counters() -> None:
    record, seen, captures, predictions = run(
        [beat(60, model(predictions=5), captures=1), beat(120, model(predictions=12), captures=4)]
    )
    assert (seen, captures, predictions) == (2, 4, 12)
    assert (record["Timestamp"], record["ReceivedAt"]) == (START + 120, START + 120)
    assert record["Models"]["digits"]["ModelDigest"] == DIGEST
    assert record["Models"]["digits"]["Timestamp"] == START + 120


def test_an_agent_that_starts_anew_counts_from_0() -> None:
    beats = [beat(600, model(predictions=50), captures=9), beat(660, model(predictions=60), captures=10, uptime=30)]
    record, _ = advance(None, beats[0])
    # More than before, so that only the uptime tells that these are all new.
    _, _, captures, predictions = run(beats[1:], record)
    assert (captures, predictions) == (10, 60)


def test_an_agent_that_keeps_its_counters_goes_on_with_them_but_not_with_its_models() -> None:
    record, _ = advance(None, beat(600, model(predictions=50), captures=9, starts=3))
    _, _, captures, predictions = run([beat(660, model(predictions=60), captures=10, starts=4, uptime=30)], record)
    assert (captures, predictions) == (1, 60)


def test_counters_of_long_ago_are_where_counting_begins() -> None:
    old = [beat(100_000, model(predictions=5000), captures=70), beat(100_060, model(predictions=5001), captures=70)]
    assert run(old)[1:] == (2, 0, 1)
    kept = [beat(60, model(predictions=5), captures=70, starts=2)]
    assert run(kept)[1:] == (1, 0, 0)


def test_what_comes_late_tells_that_the_device_speaks_and_counts_nothing() -> None:
    beats = [
        beat(60, model(predictions=5)),
        beat(120, model(predictions=9)),
        beat(60, model(predictions=5), received=130),
    ]
    record, seen, _, predictions = run(beats)
    assert (seen, predictions) == (2, 9)
    assert record["Timestamp"] == START + 120
    assert record["ReceivedAt"] == START + 130


def test_a_record_that_says_nothing_new_is_the_same_object() -> None:
    record, _ = advance(None, beat(60, model(predictions=5)))
    again, counts = advance(record, beat(60, model(predictions=5)))
    assert again is record
    assert counts == Counts()


def test_a_clock_that_was_ahead_and_is_right_again_silences_nobody() -> None:
    ahead = beat(10_000_000, model(predictions=5), received=60, uptime=60)
    record, seen, _, predictions = run([ahead, beat(120, model(predictions=7)), beat(180, model(predictions=9))])
    assert (seen, predictions) == (3, 9)
    assert record["Timestamp"] == START + 180


@pytest.mark.parametrize(("ahead", "seen"), [(3600, 1), (3601, 2)])
def test_a_clock_may_be_ahead_by_an_hour_and_its_time_still_orders(ahead: int, seen: int) -> None:
    first = beat(120 + ahead, model(predictions=5), received=60, uptime=60)
    record, found, _, _ = run([first, beat(120, model(predictions=7))])
    assert found == seen
    assert record["Timestamp"] == START + (120 + ahead if seen == 1 else 120)


def test_a_record_has_room_for_so_many_models_and_keeps_those_that_came_last() -> None:
    record, *_ = run([beat(60, *(model(f"m{number}") for number in range(402)))])
    assert list(record["Models"]) == [f"m{number}" for number in range(2, 402)]


def test_a_model_that_is_not_named_any_more_is_gone() -> None:
    record, *_ = run([beat(60, model("a"), model("b")), beat(120, model("b"))])
    assert set(record["Models"]) == {"b"}


@given(order=st.permutations([0, 1, 2, 3, 4, 5]))
def test_parts_in_any_order_make_the_same_heartbeat(order: list[int]) -> None:
    names = ("a", "b", "c")
    first = [beat(60, model(name, predictions=4), part=n, parts=3) for n, name in enumerate(names, 1)]
    record, _, _, predictions = run(first)
    assert (set(record["Models"]), predictions) == (set(names), 12)
    # Then "c" is unloaded, and "d" loaded; each part comes twice.
    second = [beat(120, model(name, predictions=6), part=n, parts=3) for n, name in enumerate(("a", "b", "d"), 1)]
    record, seen, _, predictions = run([(second * 2)[index] for index in order], record)
    assert set(record["Models"]) == {"a", "b", "d"}
    assert (seen, predictions) == (1, 2 + 2 + 6)


def test_a_part_that_is_lost_leaves_a_model_no_longer_than_the_next_heartbeat() -> None:
    lost = [
        beat(60, model("a"), part=1, parts=2),
        beat(60, model("b"), part=2, parts=2),
        beat(120, model("a"), parts=2),
    ]
    record, *_ = run(lost)
    assert set(record["Models"]) == {"a", "b"}
    record, *_ = run([beat(180, model("a"), part=1, parts=1)], record)
    assert set(record["Models"]) == {"a"}


def test_another_model_under_the_same_name_counts_from_0() -> None:
    record, _ = advance(None, beat(60, model(predictions=5)))
    assert run([beat(120, model(predictions=6, digest="b" * 64))], record)[3] == 6


def test_a_model_that_is_loaded_twice_stands_there_twice() -> None:
    beats = [
        beat(60, model(predictions=1, handle="one"), model(predictions=2, handle="two")),
        beat(120, model(predictions=3, handle="one"), model(predictions=7, handle="two")),
    ]
    record, _, _, predictions = run(beats)
    assert set(record["Models"]) == {"digits", "digits/two"}
    assert predictions == 10


@given(
    runs=st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=6), min_size=1, max_size=4),
    data=st.data(),
)
def test_every_prediction_counts_once_whatever_is_repeated_or_comes_late(runs: list[list[int]], data: Any) -> None:
    """Of runs of an agent that send all their heartbeats in order, with repetitions of earlier ones between them."""
    second, sent = 0.0, []
    for number, counted in enumerate(runs):
        total, uptime = 0, 0.0
        for more in counted:
            second, uptime, total = second + 60, uptime + 60, total + more
            # Each run begins with less uptime than the one before it had, as it does where heartbeats are regular.
            sent.append(beat(second, model(predictions=total), uptime=uptime - number * 0.001))
    messages: list[Heartbeat] = []
    for index, one in enumerate(sent):
        messages.append(one)
        earlier = data.draw(st.lists(st.integers(0, index), max_size=3))
        messages += [dataclasses.replace(sent[back], received=one.received) for back in earlier]
    _, seen, _, predictions = run(messages)
    assert predictions == sum(map(sum, runs))
    assert seen == len(sent)


def message(**changed: Any) -> str:
    good = {
        "DeviceName": "dev-a",
        "ClientId": "dev-a",
        "ReceivedAtMilliseconds": 1_800_000_000_000,
        "AgentVersion": "1.0",
        "Timestamp": 1_800_000_000.5,
        "AgentMetrics": [{"MetricName": "Predictions", "Value": 3, "Dimension": "dev-a", "Timestamp": 1.0}],
        "Models": [],
    }
    return json.dumps({**good, **changed})


def test_a_message_is_read_and_a_nucleus_with_several_connections_is_known() -> None:
    assert Heartbeat.parse(message()).agent == {"Predictions": 3}
    assert Heartbeat.parse(message(ClientId="dev-a#2")).device == "dev-a"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"ClientId": "dev-b"}, "DeviceName: 'dev-b' is expected"),
        ({"ClientId": "n/a"}, "DeviceName: 'n/a' is expected"),
        ({"DeviceName": "awaited/x", "ClientId": "awaited/x"}, "DeviceName"),
        ({"DeviceName": None}, "DeviceName: a text"),
        ({"Timestamp": -1}, "Timestamp: a number from 0"),
        ({"Timestamp": True}, "Timestamp: a number from 0"),
        ({"Part": 3, "Parts": 2}, "Part: a whole number from 1 to 2"),
        ({"Parts": 41}, "Parts: a whole number from 1 to 40"),
        ({"AgentMetrics": {}}, "AgentMetrics: a list"),
        ({"AgentMetrics": [{"MetricName": "a b", "Value": 1}]}, "a metric's name"),
        ({"AgentMetrics": [{"MetricName": "A", "Value": float("nan")}]}, "A: a number"),
        ({"AgentMetrics": [{"MetricName": "A", "Value": 1}] * 65}, "at most 64"),
        ({"Models": [{"ModelName": "x" * 300}]}, "ModelName: a text of at most 256"),
    ],
)
def test_what_is_no_heartbeat_of_its_sender_is_refused_with_the_reason(changed: dict[str, Any], expected: str) -> None:
    with pytest.raises(HeartbeatError, match=expected):
        Heartbeat.parse(message(**changed))


@given(text=st.text() | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_any_text_is_a_heartbeat_or_refused(text: str) -> None:
    with pytest.raises(HeartbeatError):
        Heartbeat.parse(text)


@given(
    value=st.recursive(
        st.text() | st.integers(-(2**53), 2**53) | st.floats(-1e15, 1e15).map(lambda number: round(number, 6)),
        lambda inner: st.dictionaries(st.text(min_size=1), inner, max_size=3),
    )
)
def test_what_the_table_keeps_is_what_was_written(value: Any) -> None:
    assert decode(encode(value)) == value
