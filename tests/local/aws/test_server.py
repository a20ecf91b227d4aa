# SPDX-License-Identifier: Apache-2.0
"""The embedded AWS as a process: what it listens on, what it sees, and that nothing of it stays."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local.aws import server
from local.aws.server import ROOT, EmbeddedAws, EmbeddedAwsError

linux_only = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads Linux's /proc")


def group_members(group: int) -> list[int]:
    """Process ids of the group that are not zombies."""
    members = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, _, process_group = entry.joinpath("stat").read_text(encoding="utf-8").rpartition(") ")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(process_group) == group and state != "Z":
            members.append(int(entry.name))
    return members


def listening(pids: list[int]) -> Iterator[tuple[str, int]]:
    """Address (as in /proc, hexadecimal) and port of each socket on which the processes listen."""
    inodes = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            target = descriptor.readlink() if descriptor.is_symlink() else Path()
            inodes.add(str(target).removeprefix("socket:[").removesuffix("]"))
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{table}").read_text(encoding="utf-8").splitlines()[1:]:
            fields = line.split()
            address, _, port = fields[1].rpartition(":")
            listens = fields[3] == "0A" or table.startswith("udp")
            if listens and fields[9] in inodes:
                yield address, int(port, 16)


def eventually(condition: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@linux_only
def test_it_listens_on_one_port_of_the_loopback_address_alone(aws: EmbeddedAws) -> None:
    aws.client("iot").list_things()
    loopback = "0100007F"
    assert set(listening(group_members(aws.pid))) == {(loopback, aws.port)}


def test_the_environment_shows_no_real_account(aws: EmbeddedAws, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_CA_BUNDLE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_STS", "PYTHONPATH"):
        monkeypatch.setenv(name, "mine")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/home/me/.aws/config")
    monkeypatch.setenv("KEPT", "yes")
    environment = aws.environment()
    assert "mine" not in environment.values()
    assert environment["AWS_CONFIG_FILE"] == environment["AWS_SHARED_CREDENTIALS_FILE"] == os.devnull
    assert environment["AWS_ENDPOINT_URL"] == f"http://127.0.0.1:{aws.port}"
    assert environment["AWS_ACCESS_KEY_ID"] == aws.account
    assert environment["KEPT"] == "yes"


def test_a_profile_of_the_user_is_not_looked_at(aws: EmbeddedAws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "a-profile-that-does-not-exist")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert aws.client("sts").get_caller_identity()["Account"] == aws.account


def test_objects_go_there_and_back(aws: EmbeddedAws) -> None:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="there-and-back")
    s3.put_object(Bucket="there-and-back", Key="a/b c", Body=b"\x00\xff")
    assert s3.get_object(Bucket="there-and-back", Key="a/b c")["Body"].read() == b"\x00\xff"


@linux_only
def test_nothing_stays_after_a_stop(tmp_path: Path) -> None:
    with EmbeddedAws.start(directory=tmp_path, account="111122223333", region="us-east-1") as aws:
        assert group_members(aws.pid)
    assert group_members(aws.pid) == []
    assert not server._healthy(aws.port)
    aws.stop()


@linux_only
def test_it_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from local.aws.server import EmbeddedAws;"
        "aws = EmbeddedAws.start(directory=Path(sys.argv[1]), account='111122223333', region='us-east-1');"
        "print(aws.pid, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert group_members(child)
        parent.send_signal(signal.SIGKILL)
        parent.wait(10)
    assert eventually(lambda: not group_members(child))


def test_a_start_that_fails_shows_the_end_of_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "INTERPRETER", Path(sys.executable))  # has no ministack
    with pytest.raises(EmbeddedAwsError, match=r"ended with 1[\s\S]*aws\.log[\s\S]*No module named 'ministack'"):
        EmbeddedAws.start(directory=tmp_path, account="111122223333", region="us-east-1")


def test_a_start_without_installation_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "INTERPRETER", tmp_path / "python")
    with pytest.raises(EmbeddedAwsError, match="make setup"):
        EmbeddedAws.start(directory=tmp_path, account="111122223333", region="us-east-1")
