# SPDX-License-Identifier: Apache-2.0
"""What `cdk synth` refuses in environments and the lock, said by the app itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from stacks.application import INPUT_ERRORS, build_app
from stacks.components import LOCK, ROOT
from tests.stacks.minimal import MINIMAL

mark = pytest.mark.refusal
Says = tuple[str, str, str, str]
Refused = Callable[..., str]


@pytest.fixture(name="refused")
def _refused(tmp_path: Path, lock: Path) -> Refused:
    """Synthesises environments of the given texts by name, and returns what was said."""
    for name in ("cdk.json", "component_src", "models"):
        (tmp_path / name).symlink_to(ROOT / name)

    def synthesise(files: Mapping[str, str], context: Mapping[str, Any] | None = None) -> str:
        folder = tmp_path / "environments"
        folder.mkdir()
        for name, text in files.items():
            (folder / f"{name}.toml").write_text(text)
        with pytest.raises(INPUT_ERRORS) as caught:
            build_app(context=context, outdir=str(tmp_path / "cdk.out"), root=lock.parent)
        return str(caught.value)

    return synthesise


@pytest.fixture(name="lock")
def _lock(tmp_path: Path) -> Path:
    """A copy of the lock, that the app reads instead."""
    return Path(shutil.copy(LOCK, tmp_path / "components.lock"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(
            MINIMAL + 'interval_seconds = "60"\n',
            ("inference.interval_seconds", "should be a valid integer", "got '60'", "without quotes"),
            marks=mark("Environment file", "a value of the wrong type"),
        ),
        pytest.param(
            MINIMAL + "intervall_seconds = 60\n",
            ("test.toml", "inference.intervall_seconds", "known here are", "remove it"),
            marks=mark("Environment file", "an unknown key"),
        ),
        pytest.param(
            MINIMAL.replace('devices = ["device-1"]', ""),
            ("test.toml: devices", "expected", "missing", "add it"),
            marks=mark("Environment file", "a key is missing"),
        ),
        pytest.param(
            MINIMAL.replace('["device-1"]', "[device-1]"),
            ("test.toml", "a TOML file with one environment is expected", "Invalid value", "line 2"),
            marks=mark("Environment file", "no TOML"),
        ),
        pytest.param(
            'account = "111122223333"\n' + MINIMAL,
            ("test.toml", "account", "not set here", "come from EDGE_TEST_ACCOUNT"),
            marks=mark("Environment file", "an account in the file"),
        ),
        pytest.param(
            MINIMAL + f'[agent]\nunix_socket_name = "/tmp/{"x" * 110}"\n',
            ("agent.unix_socket_name", "at most 107 bytes", "this one has 115", "should be an absolute path"),
            marks=mark("Environment file", "a socket path over 107 bytes"),
        ),
        pytest.param(
            MINIMAL.replace("device-1", "Device_1"),
            ("devices.0", "should be 1 to 63 lower-case", "got 'Device_1'", "dashes only between"),
            marks=mark("Device", "a name that Edge Manager would not take"),
        ),
        pytest.param(
            MINIMAL.replace("device-1", "d" * 60),
            ("devices", "63 characters", f"test-{'d' * 60}", "shorten device or namespace"),
            marks=mark("Device", "a thing name over 63 characters"),
        ),
        pytest.param(
            MINIMAL.replace('["device-1"]', '["device-1", "device-2", "device-1"]'),
            ("devices", "a device has one entry", "device-1 stands twice", "one entry"),
            marks=mark("Device", "the same device twice"),
        ),
        pytest.param(
            'canaries = ["device-9"]\n' + MINIMAL,
            ("canaries", "devices of this environment are expected", "got device-9", "name it in devices too"),
            marks=mark("Device", "a canary that is no device"),
        ),
        pytest.param(
            MINIMAL + "[rollout]\nupdate_timeout_seconds = 1800\n",
            ("rollout", "update_timeout_seconds 1800", "must be below in_progress_minutes 30", "count as timed out"),
            marks=mark("Rollout", "components that may think for longer than their device"),
        ),
        pytest.param(
            MINIMAL + "defer_update_seconds = 3600\n",
            ("inference.defer_update_seconds", "less than rollout.in_progress", "got 3600", "defer for less"),
            marks=mark("Rollout", "a pass that may put an update off for longer than its device"),
        ),
        pytest.param(
            MINIMAL + '[rollout]\nabort = [{ failure_type = "TIMEOUT" }]\n',
            (
                "rollout.abort.0.failure_type",
                "should be 'FAILED', 'REJECTED', 'TIMED_OUT' or 'ALL'",
                "'TIMEOUT'",
                "should",
            ),
            marks=mark("Rollout", "an abort criterion that the service does not know"),
        ),
        pytest.param(
            MINIMAL + "[heartbeat]\nperiod_seconds = 600\n",
            ("alarms.silent_minutes", "at least two periods of heartbeat", "got 15 minutes", "speak more often"),
            marks=mark("Alarms", "a device that is called silent before it has spoken twice"),
        ),
        pytest.param(
            MINIMAL + "[artifacts]\nwheels = true\n",
            ("artifacts.pythons", "versions of the devices' python3 are expected", "got none", 'pythons = ["3.11"]'),
            marks=mark("Artifacts", "wheels for no version of Python"),
        ),
        pytest.param(
            MINIMAL + '[artifacts]\nwheels = true\npythons = ["3.8"]\n',
            ("artifacts.pythons.0", "should match", "got '3.8'", "should"),
            marks=mark("Artifacts", "a version of Python that components do not run on"),
        ),
        pytest.param(
            MINIMAL + '[artifacts]\nwheels = true\npythons = ["3.9", "3.9"]\n',
            ("artifacts.pythons", "3.9", "stands twice", "name it once"),
            marks=mark("Artifacts", "the same version of Python twice"),
        ),
        pytest.param(
            MINIMAL + '[artifacts]\nwheels = true\npythons = ["3.9"]\narchitectures = ["arm"]\n',
            ("artifacts.architectures.0", "should be 'amd64' or 'aarch64'", "got 'arm'", "should"),
            marks=mark("Artifacts", "an architecture that has no wheels"),
        ),
    ],
)
def test_an_environment_file(refused: Refused, refusal: Callable[..., None], text: str, says: Says) -> None:
    refusal(refused({"test": text}), says)


SAGEMAKER = 'edge_manager = "sagemaker"\n'
ACKNOWLEDGED = SAGEMAKER + "acknowledge_discontinued = true\n"
COMPILED = MINIMAL + '[compilation]\ntarget_device = "rasp4b"\n'
DETECTION = '[detection]\nmodel = "digitdetector"\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(
            SAGEMAKER + COMPILED,
            (
                'edge_manager = "sagemaker"',
                "acknowledge_discontinued = true",
                "discontinued",
                'use edge_manager = "open"',
            ),
            marks=mark("Mode", "a discontinued service without an acknowledgement"),
        ),
        pytest.param(
            ACKNOWLEDGED + MINIMAL,
            ('edge_manager = "sagemaker"', "a table [compilation] is expected", "got none", "[compilation]"),
            marks=mark("Mode", "Edge Manager's packaging without a compilation"),
        ),
        pytest.param(
            MINIMAL + "[agent]\ndeployment_enable = true\n",
            ("agent.deployment_enable", "false is expected", "got true", "as Greengrass components"),
            marks=mark("Mode", "Edge Manager's own deployments in open mode"),
        ),
        pytest.param(
            MINIMAL + '[compilation]\nframework = "ONNX"\n',
            ("compilation", "is expected", "none", "either target_device or target_platform"),
            marks=mark("Compilation", "no target"),
        ),
        pytest.param(
            COMPILED + 'framework = "SKLEARN"\n',
            ("compilation", "framework: one of", "is expected", "got SKLEARN", "export the model to ONNX"),
            marks=mark("Compilation", "a framework without a documented layout"),
        ),
        pytest.param(
            COMPILED + 'framework = "TFLITE"\n',
            ("model digits", "one .tflite file is expected", "got model.onnx", "name the framework"),
            marks=mark("Compilation", "files of another framework"),
        ),
        pytest.param(
            COMPILED + "data_input_config = '{\"image\": [1, 1, 8, 8]}'\n" + DETECTION,
            ("compilation.data_input_config", "none is expected", "one shape does not fit two models", "leave it out"),
            marks=mark("Compilation", "one shape for two models"),
        ),
        pytest.param(
            COMPILED + "data_input_config = '[1, 1, 8, 8]'\n",
            ("data_input_config", "is expected", "got '[1, 1, 8, 8]'", "such as"),
            marks=mark("Compilation", "a shape without its input's name"),
        ),
        pytest.param(
            MINIMAL + '[packaging]\nkms_key_id = "1234abcd"\n',
            ("packaging.kms_key_id", "should be the ARN", "got '1234abcd'", "an alias of yours"),
            marks=mark("Packaging", "a key by its id alone"),
        ),
        pytest.param(
            MINIMAL + '[packaging]\nplatform_os = "Linux"\n',
            ("packaging", "should have", "'Linux' and None", "platform_os and platform_architecture together"),
            marks=mark("Packaging", "half a platform"),
        ),
        pytest.param(
            MINIMAL + "[agent.parameters]\nCaptureSpoolBytes = 1\n",
            ("agent.parameters.CaptureSpoolBytes", "should be", "got 'CaptureSpoolBytes'", "'CaptureSpoolMaxBytes'"),
            marks=mark("Agent", "a parameter that the agent does not have"),
        ),
        pytest.param(
            ACKNOWLEDGED + COMPILED + "[agent.parameters]\nMaxModels = 3\n",
            ("agent.parameters", "none are expected", "got MaxModels", "remove them"),
            marks=mark("Agent", "our agent's parameters in SageMaker mode"),
        ),
        pytest.param(
            MINIMAL + '[packaging]\nresource_key = "alias/volumes"\n',
            ("packaging.resource_key", "none is expected", "got alias/volumes", "remove it"),
            marks=mark("Packaging", "a volume's key in open mode"),
        ),
        pytest.param(
            MINIMAL + '[packaging]\nplatform_os = "Windows"\nplatform_architecture = "Windows64_x64"\n',
            ("packaging.platform_os", '"Linux" is expected', 'got "Windows"', "leave the platform out"),
            marks=mark("Packaging", "Windows in open mode"),
        ),
        pytest.param(
            MINIMAL + DETECTION.replace("digitdetector", "digits"),
            ("models/digits/model.toml", 'expected "object-detection"', 'got "image-classification"', "correct task"),
            marks=mark("Detection", "a classifier as the detector"),
        ),
        pytest.param(
            MINIMAL + DETECTION.replace("digitdetector", "faces"),
            ("models/faces/model.toml", "expected a file", "got none", "correct the model's name"),
            marks=mark("Detection", "a detector that does not exist"),
        ),
    ],
)
def test_modes_jobs_and_detection(refused: Refused, refusal: Callable[..., None], text: str, says: Says) -> None:
    refusal(refused({"test": text}), says)


@pytest.mark.refusal("Mode", "a region that Edge Manager never had")
def test_a_region_without_edge_manager(
    refused: Refused, refusal: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_TEST_REGION", "eu-north-1")
    message = refused({"test": ACKNOWLEDGED + COMPILED})
    refusal(message, ('edge_manager = "sagemaker"', "one of us-east-1", "got eu-north-1", "a region of Edge Manager"))


@pytest.mark.refusal("Lock", "settings that make a variant without a version")
def test_a_variant_without_a_version(refused: Refused, refusal: Callable[..., None]) -> None:
    says = ("com.edgemanager.model.digits@rasp4b-", "has no version yet", "no version", "run `make lock`")
    refusal(refused({"test": COMPILED}), says)


def _deliver(root: Path, approval: str) -> None:
    (root / "delivery.toml").write_text(
        f'repository = "a/b"\nenvironments = ["prod"]\napproval = {approval}\nreport_base = "HEAD"\n'
    )


@pytest.mark.refusal("Delivery", "an environment that nothing can be deployed to")
def test_delivering_what_was_discontinued(refused: Refused, refusal: Callable[..., None], lock: Path) -> None:
    _deliver(lock.parent, '["prod"]')
    message = refused({"prod": ACKNOWLEDGED + COMPILED})
    refusal(message, ("delivery.toml: environments", '"open" are expected', "prod: edge_manager =", "take it out"))


@pytest.mark.refusal("Delivery", "prod without a person's approval")
def test_delivering_to_prod_unseen(refused: Refused, refusal: Callable[..., None], lock: Path) -> None:
    _deliver(lock.parent, "[]")
    message = refused({"prod": MINIMAL})
    refusal(message, ("delivery.toml: approval", "prod is expected", "got none", "name it there"))


@pytest.mark.refusal("Environment file", "two environments in the same place")
def test_two_environments_in_one_place(refused: Refused, refusal: Callable[..., None]) -> None:
    message = refused({"one": 'namespace = "same"\n' + MINIMAL, "two": 'namespace = "same"\n' + MINIMAL})
    refusal(message, ("one and two", "another namespace", "both are namespace 'same'", "EDGE_TWO_ACCOUNT"))


@pytest.mark.refusal("Environment file", "an environment that does not exist")
def test_an_unknown_environment(refused: Refused, refusal: Callable[..., None]) -> None:
    message = refused({"dev": MINIMAL, "prod": MINIMAL}, {"env": "production"})
    refusal(message, ("context env", "is expected", "got 'production'", "one of dev, prod"))


@pytest.mark.refusal("Environment file", "a model that does not exist")
def test_an_unknown_model(refused: Refused, refusal: Callable[..., None]) -> None:
    message = refused({"test": MINIMAL.replace("digits", "letters")})
    refusal(message, ("models/letters/model.toml", "expected a file", "got none", "correct the model's name"))


def _changed(document: dict[str, Any]) -> None:
    document["com.edgemanager.Agent"] = {"1.0.0": "0" * 64}


def _shrunk(document: dict[str, Any]) -> None:
    document["com.edgemanager.Agent"] = {"1.0.1": "0" * 64, "1.0.0": "1" * 64}


def _bumped(document: dict[str, Any]) -> None:
    document["com.edgemanager.Agent"] = {"1.0.0": "0" * 64, "1.0.1": "0" * 64}


def _absent(document: dict[str, Any]) -> None:
    del document["com.edgemanager.Agent"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(
            _changed,
            ("com.edgemanager.Agent 1.0.0", "stands for other content", "now ", "run `make lock`"),
            marks=mark("Lock", "changed content under an old version"),
        ),
        pytest.param(
            _shrunk,
            ("com.edgemanager.Agent", "versions only grow", "1.0.0 follows 1.0.1", "run `make lock`"),
            marks=mark("Lock", "a version that shrinks"),
        ),
        pytest.param(
            _bumped,
            ("com.edgemanager.Agent", "a version without a change", "same content as 1.0.0", "remove its line"),
            marks=mark("Lock", "a new version without a change"),
        ),
        pytest.param(
            _absent,
            ("com.edgemanager.Agent", "has no version yet", "no version", "run `make lock`"),
            marks=mark("Lock", "a component without a version"),
        ),
    ],
)
def test_the_lock(
    refused: Refused, refusal: Callable[..., None], lock: Path, change: Callable[[dict[str, Any]], None], says: Says
) -> None:
    document = json.loads(lock.read_text(encoding="utf-8"))
    change(document)
    lock.write_text(json.dumps(document))
    message = refused({"test": MINIMAL})
    hidden = {message.partition("now ")[2][:12]: "…"} if "now " in message else {}
    refusal(message, says, hide=hidden)
