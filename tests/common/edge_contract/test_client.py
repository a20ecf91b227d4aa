# SPDX-License-Identifier: Apache-2.0
"""The client without an agent; tests/agent has it with one."""

from __future__ import annotations

import datetime as dt
import socket
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_contract import client as client_module
from edge_contract.client import MAX_SOCKET_PATH_BYTES, AgentClient, AgentUnavailableError, Auxiliary
from edge_contract.tensors import TensorError

if TYPE_CHECKING:
    from pathlib import Path


def test_waiting_for_a_socket_that_never_comes_ends_and_names_it(tmp_path: Path) -> None:
    started = time.monotonic()
    with (
        AgentClient(tmp_path / "a.sock") as client,
        pytest.raises(AgentUnavailableError, match=r"within 0.2 s, but .*a\.sock does not exist"),
    ):
        client.wait_until_ready(0.2)
    assert time.monotonic() - started < 2


def test_waiting_at_a_dead_socket_ends_and_says_so(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "a.sock"))
    with (
        AgentClient(tmp_path / "a.sock") as client,
        pytest.raises(AgentUnavailableError, match=r"a\.sock exists but nobody accepts"),
    ):
        client.wait_until_ready(0.3)


def test_a_call_without_an_agent_is_unavailable_at_once(tmp_path: Path) -> None:
    with AgentClient(tmp_path / "a.sock") as client, pytest.raises(AgentUnavailableError) as caught:
        client.list_models()
    assert caught.value.rpc == "ListModels"


def test_a_path_that_the_kernel_refuses_is_refused_first_and_the_longest_is_not() -> None:
    longest = "/nowhere/" + "é" * 20 + "x" * (MAX_SOCKET_PATH_BYTES - 49)  # bytes count, not letters
    with socket.socket(socket.AF_UNIX) as kernel:
        with pytest.raises(FileNotFoundError):
            kernel.connect(longest)
        with pytest.raises(OSError, match="too long"):
            kernel.connect(longest + "x")
    with AgentClient(longest) as client:
        assert str(client.socket_path) == longest
    with pytest.raises(ValueError, match="expected at most 107 bytes, got 108"):
        AgentClient(longest + "x")


def test_what_cannot_be_sent_is_refused_before_it_is(tmp_path: Path) -> None:
    with AgentClient(tmp_path / "a.sock") as client:
        with pytest.raises(TensorError, match="'x'"):
            client.predict("digits", {"x": np.array(["text"])})
        naive = dt.datetime(2026, 1, 1)  # noqa: DTZ001 # it is what the test is about
        with pytest.raises(ValueError, match="expected a time zone"):
            client.capture_data(
                "digits", "a", {}, {}, inference_timestamp=naive, auxiliary_inputs=[Auxiliary("jpg", b"")]
            )


def test_closing_twice_is_fine(tmp_path: Path) -> None:
    client = AgentClient(tmp_path / "a.sock")
    client.close()
    client.close()
    with pytest.raises(ValueError, match="closed channel"):
        client.list_models()


@given(
    st.datetimes(
        dt.datetime(1900, 1, 1),  # noqa: DTZ001 # the strategy adds the time zone
        dt.datetime(2200, 1, 1),  # noqa: DTZ001 # the strategy adds the time zone
        timezones=st.just(dt.UTC) | st.timezones(),
        allow_imaginary=False,
    )
)
def test_a_timestamp_is_the_moment_itself(moment: dt.datetime) -> None:
    sent = client_module._timestamp(moment)
    assert 0 <= sent.nanos < 10**9  # also before 1970, as the type wants it
    passed = dt.timedelta(seconds=sent.seconds, microseconds=sent.nanos // 1000)
    assert dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + passed == moment.astimezone(dt.UTC)
