# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edge_install import __main__ as entry

if TYPE_CHECKING:
    Device = Any  # the class stands in conftest.py, which tests cannot import


def test_an_installed_environment_is_used_as_it_is_until_the_lock_changes(installed_device: Device) -> None:
    device = installed_device
    before = device.environments
    lock = device.work.parent / "requirements.txt"

    started = time.monotonic()
    code, last = device.install(lock)
    assert (code, last["event"], device.installed("thing")) == (0, "install_skipped", "1.0")
    assert last["seconds"] < 1
    assert time.monotonic() - started < 10
    assert device.environments == before

    # What a process may still run from stays until the next start, what is older goes.
    second = device.lock(device.wheel("thing", "2.0"))
    code, last = device.install(second)
    assert (code, last["event"], device.installed("thing")) == (0, "installed", "2.0")
    assert set(device.environments) > set(before)
    assert device.install(second)[1]["event"] == "install_skipped"
    assert set(device.environments).isdisjoint(before)
    assert len(device.environments) == 1


@pytest.mark.parametrize(
    ("line", "hint", "output"),
    [
        ("thing==1.0 --hash=sha256:" + "0" * 64, "not what was locked", "HASHES"),
        ("thing==9.9 --hash=sha256:" + "0" * 64, "no wheel of this package", "No matching distribution"),
    ],
    ids=["altered", "absent"],
)
def test_a_lock_that_cannot_be_installed_leaves_the_environment_in_use(
    installed_device: Device, line: str, hint: str, output: str
) -> None:
    code, last = installed_device.install(installed_device.lock(line + "\n"))
    assert (code, last["level"], last["event"]) == (1, "ERROR", "install_failed")
    assert hint in last["error"]
    assert output in last["output"]
    assert installed_device.installed("thing") == "1.0"


def test_an_environment_that_lost_its_interpreter_is_made_again(installed_device: Device) -> None:
    device = installed_device
    binaries = device.work / "venv" / "bin"
    for path in binaries.glob("python*"):
        path.unlink()
    (binaries / "python").symlink_to("/nonexistent/python3")
    assert device.install(device.work.parent / "requirements.txt")[1]["event"] == "installed"
    assert device.installed("thing") == "1.0"


def test_an_install_that_is_killed_leaves_nothing_half_made_in_use(device: Device) -> None:
    lock = device.lock(device.wheel("thing", "1.0"))
    process = subprocess.Popen(
        device.command(lock), cwd=device.work, env=device.environment, stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while (
        not any(device.work.glob("venv-*/lib/*/site-packages/thing.py"))
        and process.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.002)
    # The installer alone dies, as under the out-of-memory killer: its pip lives on, and must not disturb the next.
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    link = device.work / "venv"
    assert not link.exists()
    assert device.environments
    code, last = device.install(lock)
    assert (code, last["event"]) == (0, "installed")
    assert device.installed("thing") == "1.0"
    assert sorted(path.name for path in device.work.iterdir() if "new" in path.name) == []


def test_bad_arguments_and_surroundings_are_named(device: Device) -> None:
    code, last = device.install(device.work / "no-such-file")
    assert code == 1
    assert "no-such-file: expected a readable file, got: No such file or directory" in last["error"]

    (device.work / "venv").mkdir()
    code, last = device.install(device.lock())
    assert code == 1
    assert "expected a symbolic link or nothing" in last["error"]
    assert device.environments == []


def test_an_old_python_is_refused_in_words_that_it_understands() -> None:
    ast.parse(Path(str(entry.__file__)).read_text(encoding="utf-8"), feature_version=(3, 5))
    message = entry.refusal((3, 6, 15))  # type: ignore[no-untyped-call]
    assert "is Python 3.6, expected 3.9 or newer" in json.loads(message)["error"]
    assert entry.refusal((3, 9, 0)) is None  # type: ignore[no-untyped-call]


#: Whoever asks this index waits for nobody: nothing listens at the port of discarded data.
NO_NETWORK = {
    "PIP_NO_INDEX": "",
    "PIP_FIND_LINKS": "",
    "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
    "PIP_RETRIES": "0",
}


def test_wheels_of_the_artifact_need_no_network(device: Device) -> None:
    requirements = device.lock(device.wheel("thing", "1.0"))
    code, last = device.install(requirements, "--wheels", str(device.wheels), **NO_NETWORK)
    assert (code, last["event"]) == (0, "installed")
    assert device.installed("thing") == "1.0"


def test_a_wheel_of_the_artifact_that_was_altered_is_refused(device: Device) -> None:
    requirements = device.lock(device.wheel("thing", "1.0"))
    device.wheel("thing", "1.0")
    altered = next(device.wheels.glob("*.whl"))
    altered.write_bytes(altered.read_bytes() + b"x")
    code, last = device.install(requirements, "--wheels", str(device.wheels), **NO_NETWORK)
    assert (code, last["event"]) == (1, "install_failed")
    assert "is not what was locked" in last["error"]


def test_wheels_that_are_not_there_are_said_at_once(device: Device) -> None:
    requirements = device.lock(device.wheel("thing", "1.0"))
    empty = device.work.parent / "empty"
    empty.mkdir()
    code, last = device.install(requirements, "--wheels", str(empty), **NO_NETWORK)
    assert code == 1
    assert "expected a folder with wheels" in last["error"]
    (empty / "other-1.0-py3-none-any.whl").write_bytes(b"")
    code, last = device.install(requirements, "--wheels", str(empty), **NO_NETWORK)
    assert code == 1
    assert "the index or folder has no wheel" in last["error"]
