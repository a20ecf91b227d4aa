# SPDX-License-Identifier: Apache-2.0
"""Components that carry their wheels: from the package index to an agent that was installed without a network."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_constructs.component_lock import ComponentLock
from edge_constructs.wheels import WheelsError, WheelTargets
from edge_contract.client import AgentClient
from edge_package import write_directory
from stacks import application
from stacks.application import build_app
from stacks.components import LOCK, ROOT, WHEELS, load_sources
from stacks.environment import Environment, EnvironmentFileError, load_environment
from stacks.lock import main as lock_main
from stacks.variants import environment_sources
from stacks.wheels import fetch_component, requirements_for

PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
MACHINE = platform.machine()
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "aarch64"}
SETTINGS = (ROOT / "environments/dev.toml").read_text() + "\n[artifacts]\n"


@pytest.fixture(scope="module")
def make_environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Environment]:
    def make(artifacts: str) -> Environment:
        path = tmp_path_factory.mktemp("environments") / "apart.toml"
        path.write_text(SETTINGS + artifacts)
        return load_environment(path)

    return make


class TestSettings:
    def test_components_carry_no_wheels_unless_told(self, make_environment: Callable[[str], Environment]) -> None:
        assert make_environment("").artifacts.targets is None
        targets = make_environment('wheels = true\npythons = ["3.9", "3.13"]').artifacts.targets
        assert targets == WheelTargets(architectures=("amd64", "aarch64"), pythons=("3.9", "3.13"))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("wheels = true", r'artifacts\.pythons: .* are expected, got none: name them, as in pythons = \["3.11"\]'),
            ('wheels = true\npythons = ["3.8"]', r"artifacts\.pythons\.0: .*got '3\.8'"),
            ('wheels = true\npythons = ["3.9", "3.9"]', r"artifacts\.pythons: 3\.9 stands twice"),
            ('wheels = true\npythons = ["3.9"]\narchitectures = ["arm"]', r"artifacts\.architectures\.0: .*got 'arm'"),
        ],
    )
    def test_what_cannot_be_fetched_is_refused(
        self, make_environment: Callable[[str], Environment], text: str, message: str
    ) -> None:
        with pytest.raises(EnvironmentFileError, match=message):
            make_environment(text)

    def test_synthesis_refuses_before_they_are_fetched(
        self, make_environment: Callable[[str], Environment], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr("stacks.variants.WHEELS", tmp_path)
        environment = make_environment('wheels = true\npythons = ["3.9"]')
        expected = r"wheels-aarch64-amd64-py3\.9/[a-z_]+/amd64: expected the wheels .*got none: run `make wheels`"
        with pytest.raises(WheelsError, match=expected):
            environment_sources(environment, load_sources())
        assert WheelsError in application.INPUT_ERRORS

    def test_the_lock_waits_for_them_and_says_so(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "apart.toml").write_text(SETTINGS + 'wheels = true\npythons = ["3.9"]')
        monkeypatch.setattr("stacks.variants.WHEELS", tmp_path)
        monkeypatch.setattr("stacks.lock.FOLDERS", [tmp_path])
        before = LOCK.read_bytes()
        assert lock_main() == 1
        assert "run `make wheels`" in capsys.readouterr().err
        assert LOCK.read_bytes() == before


class TestMarkers:
    LOCK = """\
# a comment
both==1.0 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via something
split==1.0 ; python_full_version < '3.10' \\
    --hash=sha256:cc
split==2.0 ; python_full_version >= '3.10' \\
    --hash=sha256:dd
windows==1.0 ; sys_platform == 'win32' \\
    --hash=sha256:ee
arm==1.0 ; platform_machine == 'aarch64' \\
    --hash=sha256:ff
"""

    @pytest.mark.parametrize(
        ("machine", "python", "expected"),
        [
            ("x86_64", "3.9", ["both==1.0 --hash=sha256:aa --hash=sha256:bb", "split==1.0 --hash=sha256:cc"]),
            (
                "aarch64",
                "3.13",
                [
                    "both==1.0 --hash=sha256:aa --hash=sha256:bb",
                    "split==2.0 --hash=sha256:dd",
                    "arm==1.0 --hash=sha256:ff",
                ],
            ),
        ],
    )
    def test_they_are_those_of_the_device_not_of_this_machine(
        self, machine: str, python: str, expected: list[str]
    ) -> None:
        assert requirements_for(self.LOCK, machine=machine, python=python) == expected

    @pytest.mark.parametrize("python", ["3.9", "3.10", "3.11", "3.12", "3.13"])
    def test_every_lock_file_names_each_package_once_for_a_device(self, python: str) -> None:
        for path in (ROOT / "component_src").glob("*/requirements.txt"):
            lines = requirements_for(path.read_text(), machine="aarch64", python=python)
            names = [line.partition("==")[0] for line in lines]
            assert len(names) == len(set(names)) > 5
            assert all(" --hash=sha256:" in line for line in lines)

    def test_an_index_without_the_package_is_said_so(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        component = tmp_path / "component_src/thing"
        component.mkdir(parents=True)
        (component / "requirements.txt").write_text(f"edge-nothing==1.0 --hash=sha256:{'0' * 64}\n")
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        targets = WheelTargets(architectures=("aarch64",), pythons=("3.9",))
        with pytest.raises(WheelsError, match=r"(?s)aarch64, Python 3\.9: expected a wheel .*edge-nothing"):
            list(fetch_component("thing", targets, tmp_path / "wheels", root=tmp_path))
        assert not list((tmp_path / "wheels").iterdir())  # nothing half-fetched stays


@pytest.fixture(scope="module")
def assembly(
    make_environment: Callable[[str], Environment], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """The Release template of an environment for devices like this machine, and its assets by SHA-256."""
    if MACHINE not in ARCHITECTURES:
        pytest.skip(f"NOT TESTED: wheels on {MACHINE}")
    targets = WheelTargets(architectures=(ARCHITECTURES[MACHINE],), pythons=(PYTHON,))
    for component in ("agent", "image_classification", "object_detection"):
        try:
            list(fetch_component(component, targets, WHEELS / targets.variant / component))
        except WheelsError as error:
            pytest.skip(f"NOT TESTED: installation without a network, as the index cannot be reached: {error}")
    folder = tmp_path_factory.mktemp("apart")
    text = f'wheels = true\npythons = ["{PYTHON}"]\narchitectures = ["{ARCHITECTURES[MACHINE]}"]'
    (folder / "apart.toml").write_text(SETTINGS + text)
    lock = ComponentLock.read(LOCK).renewed(environment_sources(make_environment(text), load_sources()))
    outdir = folder / "cdk.out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ComponentLock, "read", lambda _path: lock)
        build_app(outdir=str(outdir), folders=[folder]).synth()
    (template,) = outdir.rglob("*Release*.template.json")
    assets = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in outdir.rglob("asset.*.zip")}
    return {"template": json.loads(template.read_text()), "assets": assets}


@pytest.fixture(scope="module")
def recipe(assembly: dict[str, Any]) -> dict[str, Any]:
    """The agent's."""
    recipes = [
        json.loads(resource["Properties"]["InlineRecipe"])
        for resource in assembly["template"]["Resources"].values()
        if resource["Type"] == "AWS::GreengrassV2::ComponentVersion"
    ]
    (found,) = (one for one in recipes if one["ComponentName"].endswith("Agent"))
    return dict(found)


@pytest.fixture(scope="module")
def unpacked(assembly: dict[str, Any], recipe: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent's artifacts as a nucleus unpacks them."""
    root = tmp_path_factory.mktemp("artifacts")
    published = {
        resource["Properties"]["TargetKey"]: resource["Properties"]["Sha256"]
        for resource in assembly["template"]["Resources"].values()
        if resource["Type"] == "Custom::PublishedArtifact"
    }
    (manifest,) = recipe["Manifests"]
    for artifact in manifest["Artifacts"]:
        key = artifact["Uri"].split("/", 3)[3]
        with zipfile.ZipFile(assembly["assets"][published[key]]) as archive:
            archive.extractall(root / Path(key).stem)
    return root


def test_without_a_network_the_agent_is_installed_starts_and_predicts(
    recipe: dict[str, Any], unpacked: Path, tmp_path: Path
) -> None:
    (manifest,) = recipe["Manifests"]
    scripts = {
        step: manifest["Lifecycle"][step]["Script"].replace("{artifacts:decompressedPath}", str(unpacked))
        for step in ("install", "run")
    }
    work, home = tmp_path / "work", tmp_path / "home"
    work.mkdir()
    home.mkdir()  # neither configuration nor cache of pip
    environment = {"HOME": str(home), "PATH": f"{sys.base_prefix}/bin:{os.environ['PATH']}", "AWS_IOT_THING_NAME": "d"}
    apart = _network_less()
    installed = subprocess.run(
        [*apart, "/bin/sh", "-c", scripts["install"]],
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert installed.returncode == 0, installed.stdout + installed.stderr
    assert json.loads(installed.stdout.splitlines()[-1])["event"] == "installed"
    package = tmp_path / "package"
    package.mkdir()
    model = (ROOT / "models/digits/model.onnx").read_bytes()
    write_directory(model_name="digits", model_version="1.0", files={"model.onnx": model}, target=package)
    parameters = {"DeviceFleetName": "f", "UnixSocketName": str(work / "s"), "CaptureDataDestination": "Disk"}
    (work / "config.json").write_text(json.dumps(parameters))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*apart, "/bin/sh", "-c", scripts["run"] + " --config config.json"],
            cwd=work,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        with AgentClient(work / "s") as client:  # a unix socket needs no network
            client.wait_until_ready(60)
            loaded = client.load_model(str(package), "digits")
            (spec,) = loaded.inputs
            shape = [max(length, 1) for length in spec.shape]
            assert client.predict("digits", {spec.name: np.zeros(shape, np.float32)})
    finally:
        process.terminate()
        assert process.wait(20) == 0, (tmp_path / "log").read_text()


def _network_less() -> list[str]:
    """A command before another one that takes the network from it; none where the system does not allow that."""
    if (unshare := shutil.which("unshare")) is None:
        return []
    command = [unshare, "--net"] if os.geteuid() == 0 else [unshare, "--map-root-user", "--net"]
    allowed = subprocess.run([*command, "/bin/true"], capture_output=True, check=False).returncode == 0
    return command if allowed else []
