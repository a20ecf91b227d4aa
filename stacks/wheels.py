# SPDX-License-Identifier: Apache-2.0
"""`make wheels`: fetch what environments with `artifacts.wheels = true` carry to their devices, before synthesis."""

from __future__ import annotations

import functools
import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from packaging.requirements import Requirement

from edge_constructs.wheels import INDEX, WheelsError, WheelTargets, index_of, read_wheels
from stacks.components import FOLDERS, ROOT, WHEELS
from stacks.environment import EnvironmentFileError, load_environment

_MACHINES = {"amd64": "x86_64", "aarch64": "aarch64"}
_OLDEST_GLIBC, _DEVICE_GLIBC = 5, 28  # 2.5 is manylinux1's; onnxruntime's wheels set the device's floor
_LEGACY = {"x86_64": ("manylinux2014", "manylinux2010", "manylinux1"), "aarch64": ("manylinux2014",)}
_OUTPUT_LINES = 15


def main() -> int:
    """Fetch what is missing; 0 when every environment has its wheels."""
    try:
        wanted = {
            environment.artifacts.targets
            for path in sorted((ROOT / "environments").glob("*.toml"))
            if (environment := load_environment(path)).artifacts.targets is not None
        }
        for targets in sorted(filter(None, wanted), key=lambda one: one.variant):
            for component in FOLDERS:
                for line in fetch_component(component, targets, WHEELS / targets.variant / component):
                    sys.stdout.write(line + "\n")
    except (EnvironmentFileError, WheelsError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    if not wanted:
        sys.stdout.write("no environment asks for wheels (artifacts.wheels = true)\n")
    return 0


def fetch_component(component: str, targets: WheelTargets, folder: Path, *, root: Path = ROOT) -> Iterator[str]:
    """Fetch the wheels of a component's lock file for each architecture; those that are there already stay.

    Args:
        component: its folder's name below `component_src`.
        targets: the devices.
        folder: gets a folder of wheels for each architecture.
        root: this project's folder.

    Yields:
        What was done, for people.

    Raises:
        WheelsError: the package index has no fitting wheel, or gives other bytes than the lock file says.
    """
    requirements = root / "component_src" / component / "requirements.txt"
    for architecture in targets.architectures:
        target = folder / architecture
        try:
            count = len(read_wheels(target, requirements.read_bytes(), pythons=targets.pythons))
        except WheelsError:
            count = _fetch(requirements, architecture, targets.pythons, target)
            yield f"{component}, {architecture}: fetched {count} wheels into {target}"
        else:
            yield f"{component}, {architecture}: {count} wheels are there already"


def requirements_for(lock: str, *, machine: str, python: str) -> list[str]:
    """The lines of a lock file that hold for one kind of device, without their markers.

    pip evaluates markers for the machine that it runs on, whatever platform it downloads for.
    """
    lines = lock.replace("\\\n", " ").splitlines()
    found = []
    for line in (line.partition(" #")[0].strip() for line in lines if not line.lstrip().startswith("#")):
        text, *hashes = line.split(" --hash=")
        if not text:
            continue
        requirement = Requirement(text)
        if requirement.marker is None or any(
            requirement.marker.evaluate(_environment(machine, f"{python}.{patch}")) for patch in (0, 99)
        ):
            hashed = "".join(f" --hash={one.strip()}" for one in hashes)
            found.append(f"{requirement.name}{requirement.specifier}{hashed}")
    return found


def _environment(machine: str, version: str) -> dict[str, str]:
    return {
        "implementation_name": "cpython",
        "implementation_version": version,
        "os_name": "posix",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": version,
        "python_version": version.rpartition(".")[0],
        "sys_platform": "linux",
        "extra": "",
    }


@functools.cache
def _platforms(machine: str) -> tuple[str, ...]:
    versions = (f"manylinux_2_{minor}" for minor in range(_DEVICE_GLIBC, _OLDEST_GLIBC - 1, -1))
    return tuple(f"{name}_{machine}" for name in (*versions, *_LEGACY[machine]))


def _fetch(requirements: Path, architecture: str, pythons: Sequence[str], target: Path) -> int:
    machine = _MACHINES[architecture]
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetching-") as directory:
        folder = Path(directory, "wheels")
        folder.mkdir()
        for python in pythons:
            lines = requirements_for(requirements.read_text(encoding="utf-8"), machine=machine, python=python)
            chosen = Path(directory, "requirements.txt")
            chosen.write_text("\n".join(lines) + "\n", encoding="utf-8")
            _download(chosen, folder, machine, python, what=f"{requirements}: {architecture}, Python {python}")
        wheels = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
        (folder / INDEX).write_bytes(index_of(requirements.read_bytes(), pythons=pythons, wheels=wheels))
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
    return len(wheels)


def _download(requirements: Path, folder: Path, machine: str, python: str, *, what: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    command += ["--require-hashes", "--only-binary", ":all:", "--dest", str(folder), "--requirement", str(requirements)]
    command += ["--implementation", "cp", "--python-version", python]
    for abi in (f"cp{python.replace('.', '')}", "abi3", "none"):
        command += ["--abi", abi]
    for platform in _platforms(machine):
        command += ["--platform", platform]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)  # noqa: S603 # pip
    if done.returncode:
        output = "\n".join(done.stdout.strip().splitlines()[-_OUTPUT_LINES:])
        raise WheelsError(f"{what}: expected a wheel of every package of the lock file from the index:\n{output}")


if __name__ == "__main__":
    sys.exit(main())
