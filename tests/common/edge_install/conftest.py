# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_EDGE_INSTALL = Path(__file__).parents[3] / "component_src" / "common" / "edge_install"


@dataclass(frozen=True)
class Device:
    """A work directory and a package index that is a folder."""

    work: Path
    wheels: Path

    def wheel(self, name: str, version: str) -> str:
        """Put a wheel with one module into the index; returns its line for a lock file."""
        information = f"{name}-{version}.dist-info"
        files = {
            f"{name}.py": f"VERSION = {version!r}\n".encode(),
            f"{information}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
            f"{information}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        record = [
            f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}"
            for path, data in files.items()
        ]
        files[f"{information}/RECORD"] = "\n".join([*record, f"{information}/RECORD,,"]).encode()
        path = self.wheels / f"{name}-{version}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for member, data in files.items():
                archive.writestr(member, data)
        return f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"

    def lock(self, *lines: str) -> Path:
        path = self.work.parent / "requirements.txt"
        path.write_text("".join(lines), encoding="utf-8")
        return path

    def command(self, requirements: Path) -> list[str]:
        return [sys.executable, "-I", str(_EDGE_INSTALL), "--requirements", str(requirements)]

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.work.parent),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
        }

    def install(self, requirements: Path, *arguments: str, **environment: str) -> tuple[int, dict[str, Any]]:
        """Run the install step; returns its exit code and its last log line."""
        done = subprocess.run(
            [*self.command(requirements), *arguments],
            cwd=self.work,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert not done.stderr
        return done.returncode, json.loads(done.stdout.splitlines()[-1])

    def installed(self, module: str) -> str:
        """The version of a module as the run script's interpreter sees it."""
        command = ["./venv/bin/python", "-I", "-c", f"import {module}; print({module}.VERSION)"]
        return subprocess.run(command, cwd=self.work, capture_output=True, text=True, check=True).stdout.strip()

    @property
    def environments(self) -> list[str]:
        return sorted(path.name for path in self.work.glob("venv-*"))


def _make_device(directory: Path) -> Device:
    device = Device(work=directory / "work", wheels=directory / "wheels")
    device.work.mkdir()
    device.wheels.mkdir()
    return device


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return _make_device(tmp_path)


@pytest.fixture(scope="session")
def _installed(tmp_path_factory: pytest.TempPathFactory) -> Device:
    device = _make_device(tmp_path_factory.mktemp("installed"))
    code, last = device.install(device.lock(device.wheel("thing", "1.0")))
    assert (code, last["event"]) == (0, "installed")
    return device


@pytest.fixture
def installed_device(_installed: Device, tmp_path: Path) -> Device:
    """A device with thing 1.0: a copy of one that the install step made."""
    shutil.copytree(_installed.work.parent, tmp_path, symlinks=True, dirs_exist_ok=True)
    return Device(work=tmp_path / "work", wheels=tmp_path / "wheels")
