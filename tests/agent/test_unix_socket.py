# SPDX-License-Identifier: Apache-2.0
"""Locks and sockets at their places; test_process has them with an agent."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from edge_agent.unix_socket import OccupiedError, bind, exclusive


def test_a_lock_file_behind_a_link_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("of somebody else")
    (tmp_path / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OccupiedError, match=r"the spool: its lock file .*lock cannot be opened"):
        exclusive(tmp_path / "lock", what="the spool").__enter__()
    assert (tmp_path / "precious").read_text() == "of somebody else"


def test_a_socket_has_at_no_moment_more_permissions_than_it_shall_have(tmp_path: Path) -> None:
    modes: list[int] = []
    with socket.socket(socket.AF_UNIX) as made:

        def listen(path: Path) -> None:
            made.bind(str(path))
            modes.append(path.stat().st_mode & 0o777)

        bind(listen, tmp_path / "s", mode=0o640, group="")
    assert modes == [0o600]
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o640
