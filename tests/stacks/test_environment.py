# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacks.application import ENVIRONMENTS
from stacks.environment import EnvironmentFileError, load_environment, overrides_for
from tests.stacks.minimal import MINIMAL


def write(folder: Path, text: str) -> Path:
    path = folder / "test.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", sorted(ENVIRONMENTS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_environment_of_the_project_is_right(path: Path) -> None:
    environment = load_environment(path, variables={})
    assert environment.name == path.stem
    assert "sagemaker" in environment.capture_bucket
    assert "sagemaker" not in environment.artifact_bucket
    assert environment.device_role.startswith("SageMaker")
    assert all(len(name) <= 63 for name in (environment.capture_bucket, environment.artifact_bucket))


def test_account_and_region_come_from_the_process(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    assert load_environment(path, variables={}).account == "111122223333"
    variables = {"EDGE_TEST_ACCOUNT": "444455556666", "EDGE_TEST_REGION": "eu-west-1"}
    environment = load_environment(path, variables=variables)
    assert (environment.account, environment.region) == ("444455556666", "eu-west-1")
    with pytest.raises(EnvironmentFileError, match="account"):
        load_environment(path, variables={"EDGE_TEST_ACCOUNT": "4444"})


def test_canaries_and_the_fleet_are_disjoint(tmp_path: Path) -> None:
    environment = load_environment(write(tmp_path, MINIMAL), variables={})
    assert (environment.first_group, environment.fleet_things) == ("test-fleet", ("test-device-1",))
    text = 'canaries = ["b"]\n' + MINIMAL.replace('["device-1"]', '["a", "b", "c"]')
    environment = load_environment(write(tmp_path, text), variables={})
    assert environment.first_group == "test-canary"
    assert environment.canary_things == ("test-b",)
    assert environment.fleet_things == ("test-a", "test-c")


def test_what_is_not_said_has_edge_managers_defaults(tmp_path: Path) -> None:
    environment = load_environment(write(tmp_path, MINIMAL), variables={})
    assert environment.edge_manager == "open"
    assert environment.capture.destination == "Cloud"
    assert (environment.capture.batch_size, environment.capture.buffer_size) == (10, 30)
    assert environment.agent.unix_socket_name == "/tmp/aws.greengrass.SageMakerEdgeManager.sock"  # noqa: S108 -- as documented
    assert environment.thing_names == ("test-device-1",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("devices = [", "TOML"),
        ("", r"devices: expected, but missing"),
        ('account = "111122223333"\n' + MINIMAL, "EDGE_TEST_ACCOUNT"),
        ('colour = "red"\n' + MINIMAL, r"colour: no such key; known here are .*edge_manager"),
        (MINIMAL + "interval = 5\n", r"inference.interval: no such key; known here are .*interval_seconds"),
        (MINIMAL + 'interval_seconds = "5"\n', r"inference.interval_seconds: should be a valid integer; got '5'"),
        (
            MINIMAL + "interval_seconds = 0\n",
            r"interval_seconds: should be greater than or equal to 1; got 0",
        ),
        (MINIMAL.replace("device-1", "Device_1"), r"devices.0: should be 1 to 63 lower-case letters.*'Device_1'"),
        (MINIMAL.replace('["device-1"]', '["a", "b", "a"]'), "a stands twice"),
        (MINIMAL.replace("device-1", "d" * 60), "more than 63 characters"),
        ('canaries = ["b", "b"]\n' + MINIMAL.replace('["device-1"]', '["a", "b"]'), "canaries: b stands twice"),
        ('canaries = ["c"]\n' + MINIMAL, "canaries: devices of this environment are expected, got c"),
        ('canaries = ["device-1"]\n' + MINIMAL, "at least one of devices is expected to be none, got all of them"),
        ('edge_manager = "other"\n' + MINIMAL, r"edge_manager: should be 'open' or 'sagemaker'; got 'other'"),
        (MINIMAL + '[packaging]\nkms_key_id = "1234"\n', r"packaging\.kms_key_id: should be the ARN of a key .*'1234'"),
        (MINIMAL + '[packaging]\nkms_key_id = "alias/aws/s3"\n', "an alias of yours"),
        (MINIMAL + '[packaging]\nplatform_os = "Linux"\n', "platform_os and platform_architecture together"),
        (
            MINIMAL + '[packaging]\nplatform_os = "Linux"\nplatform_architecture = "Windows64_x64"\n',
            "one of Linux x86_64, Linux ARMV8 as platform_architecture of Linux",
        ),
        (
            MINIMAL + '[packaging]\nplatform_os = "Windows"\nplatform_architecture = "Windows64_x64"\n',
            r'packaging\.platform_os: "Linux" is expected with edge_manager = "open"',
        ),
        (MINIMAL + '[packaging]\nresource_key = "alias/volumes"\n', r"packaging\.resource_key: none is expected"),
        (MINIMAL + "[capture]\nbatch_size = 30\n", "capture.batch_size 30 must be below capture.buffer_size 30"),
        (MINIMAL + "[capture]\nbase64_embed_limit = 4000\n", "3072; got 4000"),
        (MINIMAL + f'[agent]\nunix_socket_name = "/{"x" * 107}"\n', "at most 107 bytes, this one has 108"),
        (MINIMAL + f'[agent]\nunix_socket_name = "/{"é" * 54}"\n', "at most 107 bytes, this one has 109"),
        (MINIMAL + '[agent]\nunix_socket_name = "agent.sock"\n', "an absolute path"),
    ],
)
def test_a_fault_is_named_with_file_key_expectation_and_finding(text: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFileError, match=expected) as refused:
        load_environment(write(tmp_path, text), variables={})
    assert "test.toml" in str(refused.value)


def test_every_fault_is_listed(tmp_path: Path) -> None:
    text = MINIMAL.replace('"digits"', "3") + 'interval_seconds = "5"\n'
    with pytest.raises(EnvironmentFileError) as refused:
        load_environment(write(tmp_path, text), variables={})
    assert len(str(refused.value).splitlines()) == 2


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFileError, match=r"nowhere\.toml"):
        load_environment(tmp_path / "nowhere.toml", variables={})


def test_any_value_can_be_overridden_from_a_command_line(tmp_path: Path) -> None:
    overrides = {
        "inference.interval_seconds": "7",
        "devices": '["a", "b"]',
        "agent.log_verbose": "true",
        "namespace": "other",
    }
    environment = load_environment(write(tmp_path, MINIMAL), overrides=overrides, variables={})
    assert environment.inference.interval_seconds == 7
    assert environment.thing_names == ("other-a", "other-b")
    assert environment.agent.log_verbose is True


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("inference.interval_seconds", "soon", "inference.interval_seconds: should be a valid integer"),
        ("inference.colour", "red", "inference.colour: no such key"),
        ("devices", "[1", "written as JSON"),
        ("devices.first", "a", "devices is a single value"),
    ],
)
def test_a_bad_override_is_named(key: str, value: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFileError, match=re.escape(expected)):
        load_environment(write(tmp_path, MINIMAL), overrides={key: value}, variables={})


def test_overrides_are_those_of_the_environment() -> None:
    context = {"dev.a": "1", "dev.b.c": "2", "development.a": "3", "dev": "4", "@aws-cdk/core:x": True}
    assert overrides_for("dev", context) == {"a": "1", "b.c": "2"}


@given(name=st.text("abAB019-_. é", min_size=1, max_size=70))
def test_a_device_name_is_taken_if_and_only_if_edge_manager_would_take_it(name: str) -> None:
    path = ENVIRONMENTS / "dev.toml"
    allowed = re.fullmatch(r"[a-z0-9](-*[a-z0-9]){0,62}", name) is not None and len(f"dev-{name}") <= 63
    try:
        environment = load_environment(path, overrides={"devices": json.dumps([name])}, variables={})
    except EnvironmentFileError:
        assert not allowed
    else:
        assert allowed
        assert environment.thing_names == (f"dev-{name}",)
