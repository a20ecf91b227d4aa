# SPDX-License-Identifier: Apache-2.0
"""The agent without Greengrass: its own configuration file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import agent_file, settings
from edge_agent.agent_file import AgentFile, IotCredentials, read_agent_file
from edge_agent.parameter_reader import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

#: As documentation and samples of Edge Manager write it; every key that it knew.
WHOLE = {
    "sagemaker_edge_core_device_name": "device-1",
    "sagemaker_edge_core_device_fleet_name": "fleet",
    "sagemaker_edge_core_iot_thing_name": "thing-1",
    "sagemaker_edge_core_region": "eu-west-1",
    "sagemaker_edge_core_root_certs_path": "/etc/edge/certificates",
    "sagemaker_edge_core_capture_data_batch_size": 5,
    "sagemaker_edge_core_capture_data_buffer_size": "20",
    "sagemaker_edge_core_capture_data_destination": "Cloud",
    "sagemaker_edge_core_capture_data_disk_path": "/var/captures",
    "sagemaker_edge_core_capture_data_periodic_upload": False,
    "sagemaker_edge_core_capture_data_periodic_upload_period_seconds": 9,
    "sagemaker_edge_core_capture_data_push_period_seconds": 3,
    "sagemaker_edge_core_capture_data_base64_embed_limit": 2048,
    "sagemaker_edge_core_folder_prefix": "captures",
    "sagemaker_edge_core_endpoint_override": "",
    "sagemaker_edge_core_config_path": "",
    "sagemaker_edge_log_verbose": True,
    "sagemaker_edge_telemetry_libsystemd_path": "/lib/libsystemd.so.0",
    "sagemaker_edge_local_data_root_path": "/var/edge",
    "sagemaker_edge_db_module_path": "libsagemaker_edge_db_handler_library.so",
    "sagemaker_edge_dlr_backend_options": "TVM_TENSORRT_CACHE_DIR=/var/cache",
    "sagemaker_edge_model_deployment_poll_interval": 1440,
    "sagemaker_edge_provider_provider": "Aws",
    "sagemaker_edge_provider_provider_path": "/opt/lib/libprovider_aws.so",
    "sagemaker_edge_provider_s3_bucket_name": "captures-sagemaker",
    "sagemaker_edge_provider_aws_ca_cert_file": "/etc/edge/AmazonRootCA1.pem",
    "sagemaker_edge_provider_aws_cert_file": "/etc/edge/device.pem",
    "sagemaker_edge_provider_aws_cert_pk_file": "/etc/edge/device.key",
    "sagemaker_edge_provider_aws_iot_cred_endpoint": "https://host/role-aliases/alias/credentials",
}


@pytest.fixture
def read(tmp_path: Path) -> Callable[[dict[str, object]], AgentFile]:
    def from_json(values: dict[str, object]) -> AgentFile:
        (tmp_path / "config.json").write_text(json.dumps(values))
        return read_agent_file(tmp_path / "config.json")

    return from_json


def test_every_key_of_edge_manager_is_understood(read: Callable[[dict[str, object]], AgentFile]) -> None:
    file = read(dict(WHOLE))
    assert settings.unknown(file.values) == []
    parsed = settings.parse(
        file.values, device_name=file.device_name, work=Path("/work"), iot_credentials=file.credentials
    )
    assert (parsed.device_name, parsed.device_fleet_name, file.region) == ("device-1", "fleet", "eu-west-1")
    assert (parsed.capture_data_batch_size, parsed.capture_data_buffer_size) == (5, 20)
    assert parsed.capture_data_destination == "Cloud"
    assert parsed.capture_data_push_period_seconds == 3
    assert parsed.capture_data_periodic_upload_period_seconds == 9
    assert parsed.capture_data_base64_embed_limit == 2048
    assert parsed.capture_data_disk_path == Path("/var/captures")
    assert (parsed.folder_prefix, parsed.bucket_name) == ("captures", "captures-sagemaker")
    assert parsed.local_data_root_path == Path("/var/edge")
    assert parsed.root_certs_path == Path("/etc/edge/certificates")
    assert parsed.dlr_backend_options == (("TVM_TENSORRT_CACHE_DIR", "/var/cache"),)
    assert (parsed.db_enable, parsed.verbose) == (True, True)
    assert parsed.iot_credentials == IotCredentials(
        endpoint="https://host/role-aliases/alias/credentials",
        ca_file="/etc/edge/AmazonRootCA1.pem",
        certificate_file="/etc/edge/device.pem",
        key_file="/etc/edge/device.key",
    )
    assert "sagemaker_edge_provider_provider_path" in file.ignored


def test_each_parameter_of_edge_manager_has_its_key() -> None:
    names = list(settings.DEFAULTS)
    theirs = set(names[: names.index("UnixSocketName")])  # the socket itself is the flag -a
    mapped = {*agent_file._PARAMETERS.values(), *agent_file._SWITCHES.values()}
    assert mapped - {"RootCertsPath"} == theirs


def test_in_its_own_file_the_disk_is_the_default(read: Callable[[dict[str, object]], AgentFile]) -> None:
    assert read({"sagemaker_edge_core_device_fleet_name": "f"}).values["CaptureDataDestination"] == "Disk"
    assert "CaptureDataDestination" not in read({"DeviceFleetName": "f"}).values


def test_keys_that_nobody_knows_are_named(read: Callable[[dict[str, object]], AgentFile]) -> None:
    file = read({"sagemaker_edge_core_capture_batch": 1, "MaxModels": "2", "Colour": "red"})
    assert settings.unknown(file.values) == ["Colour", "sagemaker_edge_core_capture_batch"]
    assert file.values["MaxModels"] == "2"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sagemaker_edge_provider_provider": "Custom"}, "expected Aws or None, got 'Custom'"),
        (
            {"sagemaker_edge_provider_provider": "None", "sagemaker_edge_core_capture_data_destination": "Cloud"},
            "None leaves nothing to upload with",
        ),
        (
            {"sagemaker_edge_provider_provider": "None", "sagemaker_edge_core_capture_data_periodic_upload": True},
            "None leaves nothing to upload with",
        ),
        ({"sagemaker_edge_core_device_name": ["a"]}, "sagemaker_edge_core_device_name: expected a string"),
        (
            {"sagemaker_edge_provider_aws_cert_file": "a.pem"},
            "sagemaker_edge_provider_aws_iot_cred_endpoint, .*expected together",
        ),
        (
            {
                **{key: "x" for key in WHOLE if "provider_aws" in key},
                "sagemaker_edge_provider_aws_iot_cred_endpoint": "http://host/",
            },
            "expected https://",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_key(
    read: Callable[[dict[str, object]], AgentFile], values: dict[str, object], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        read(values)


def test_a_deployment_plug_in_is_refused_with_the_way_to_do_it(read: Callable[[dict[str, object]], AgentFile]) -> None:
    file = read({**WHOLE, "sagemaker_edge_deployment_lib_path": "libdeployment_smedge_library.so"})
    with pytest.raises(SettingsError, match="deploy models as Greengrass components instead"):
        settings.parse(file.values, device_name="d", work=Path("/work"))


def test_a_file_that_is_no_json_object_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    for name in ("list.json", "deep.json", "absent.json"):
        with pytest.raises(SettingsError, match=name):
            read_agent_file(tmp_path / name)


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8), lambda v: st.lists(v, max_size=2))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any") / "config.json"


@hypothesis.settings(deadline=None)  # it waits for a disk that others use too
@given(values=st.dictionaries(st.sampled_from(sorted(WHOLE)), JSON, max_size=6))
def test_any_values_are_read_or_refused_by_name(path: Path, values: dict[str, object]) -> None:
    path.write_text(json.dumps(values))
    try:
        file = read_agent_file(path)
        settings.parse({"DeviceFleetName": "f", **file.values}, device_name="d", work=Path("/work"))
    except SettingsError as error:
        names = [*WHOLE, *settings.DEFAULTS]
        assert any(name in str(error) for name in names)  # noqa: PT017 # either way is right
