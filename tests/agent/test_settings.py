# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import settings
from edge_agent.parameter_reader import SettingsError
from edge_agent.settings import parse

WORK = Path("/greengrass/v2/work/com.edgemanager.Agent")
REQUIRED = {"DeviceFleetName": "fleet", "BucketName": "captures-sagemaker"}


def test_the_defaults_are_edge_managers() -> None:
    parsed = parse(REQUIRED, device_name="thing", work=WORK)
    assert parsed.capture_data_destination == "Cloud"
    assert (parsed.capture_data_batch_size, parsed.capture_data_buffer_size) == (10, 30)
    assert parsed.capture_data_push_period_seconds == 4
    assert parsed.capture_data_periodic_upload_period_seconds == 8
    assert parsed.capture_data_base64_embed_limit == 3072
    assert parsed.folder_prefix == "sme-capture"
    assert parsed.capture_data_disk_path == WORK / "capture"
    assert parsed.local_data_root_path == WORK
    assert str(parsed.unix_socket_name) == "/tmp/aws.greengrass.SageMakerEdgeManager.sock"  # noqa: S108
    assert parsed.unix_socket_mode == 0o660


def test_the_recipe_lists_every_parameter_with_its_default() -> None:
    recipe = json.loads((Path(__file__).parents[2] / "component_src/agent/recipe.json").read_text())
    defaults = recipe["ComponentConfiguration"]["DefaultConfiguration"]
    access = defaults.pop("accessControl")
    assert defaults == settings.DEFAULTS
    (policy,) = access["aws.greengrass.ipc.mqttproxy"].values()
    assert policy["resources"] == [settings.DEFAULTS["HeartbeatTopic"]]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("DeviceFleetName", "", "letters, digits"),
        ("DeviceFleetName", "a/b", "'a/b'"),
        ("BucketName", "", "an S3 bucket name"),
        ("BucketName", "Captures", "an S3 bucket name"),
        ("CaptureDataBatchSize", "ten", "a whole number"),
        ("CaptureDataBatchSize", "0", "from 1 to"),
        ("CaptureDataBatchSize", "30", "less than CaptureDataBufferSize"),
        ("CaptureDataDestination", "cloud", "Cloud or Disk"),
        ("CaptureDataPeriodicUpload", "yes", "true or false"),
        ("CaptureDataPushPeriodSeconds", "nan", "seconds from"),
        ("CaptureDataPushPeriodSeconds", "0", "seconds from"),
        ("CaptureDataBase64EmbedLimit", "3073", "from 0 to 3072"),
        ("FolderPrefix", "../up", "folder names"),
        ("FolderPrefix", "a//b", "folder names"),
        ("DeploymentEnable", "true", "deploy models as Greengrass components"),
        ("UnixSocketMode", "0999", "octal"),
        ("UnixSocketMode", "0460", "owner write"),
        ("InferenceThreads", "0", "from 1 to"),
        ("MaxMessageBytes", "1024", "from 4194304"),
        ("CaptureDataBufferSize", ["30"], "a string"),
        ("ExecutionProviders", "CUDA Execution", "names of execution providers"),
        ("ExecutionProviders", "CPUExecutionProvider,CPUExecutionProvider", "names of execution providers"),
        ("NativeRuntimes", "signed", "Signed or Always or Never"),
        ("Transport", "Quic", "Http2 or Grpcio"),
        ("DLRBackendOptions", "TVM_TENSORRT_CACHE_DIR", "NAME=value pairs"),
        ("DLRBackendOptions", "path=/evil", "NAME=value pairs"),
        ("HeartbeatTopic", "a/#", "without wildcards"),
        ("HeartbeatPeriodSeconds", "0.5", "seconds from 1.0"),
        ("PackageMaxBytes", "12", "from 1024"),
        ("CaptureDataDiskMaxBytes", "-1", "from 0 to"),
        ("CaptureDataDiskMaxBytes", "4", "0 for no bound, or 1048576 or more"),
        ("CaptureDataDiskMaxBytes", "4 GiB", "a whole number"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(name: str, value: object, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse({**REQUIRED, name: value}, device_name="thing", work=WORK)
    assert words in str(caught.value)
    assert name in str(caught.value)


def test_a_blank_value_is_the_default_but_a_blank_prefix_is_none() -> None:
    parsed = parse({**REQUIRED, "CaptureDataBatchSize": " ", "FolderPrefix": ""}, device_name="thing", work=WORK)
    assert parsed.capture_data_batch_size == 10
    assert not parsed.folder_prefix


def test_disk_needs_no_bucket_unless_it_uploads() -> None:
    values = {"DeviceFleetName": "fleet", "CaptureDataDestination": "Disk"}
    assert not parse(values, device_name="thing", work=WORK).bucket_name
    with pytest.raises(SettingsError, match="BucketName"):
        parse({**values, "CaptureDataPeriodicUpload": "true"}, device_name="thing", work=WORK)


def test_periodic_upload_means_nothing_with_cloud() -> None:
    parsed = parse({**REQUIRED, "CaptureDataPeriodicUpload": "true"}, device_name="thing", work=WORK)
    assert not parsed.capture_data_periodic_upload


def test_a_required_signature_needs_keys() -> None:
    with pytest.raises(SettingsError, match="RootCertsPath"):
        parse({**REQUIRED, "RequireSignature": "true"}, device_name="thing", work=WORK)
    parsed = parse({**REQUIRED, "RequireSignature": "true", "RootCertsPath": "keys"}, device_name="thing", work=WORK)
    assert parsed.root_certs_path == WORK / "keys"


def test_options_of_libraries_are_pairs() -> None:
    text = "TVM_TENSORRT_CACHE_DIR=/var/cache; TVM_TENSORRT_CACHE_DISK_SIZE_MB=512;"
    parsed = parse({**REQUIRED, "DLRBackendOptions": text}, device_name="thing", work=WORK)
    assert parsed.dlr_backend_options == (
        ("TVM_TENSORRT_CACHE_DIR", "/var/cache"),
        ("TVM_TENSORRT_CACHE_DISK_SIZE_MB", "512"),
    )


def test_relative_paths_are_below_the_working_directory() -> None:
    parsed = parse({**REQUIRED, "UnixSocketName": "a.sock", "LocalDataRootPath": "/data"}, device_name="t", work=WORK)
    assert parsed.unix_socket_name == WORK / "a.sock"
    assert parsed.local_data_root_path == Path("/data")


def test_the_device_needs_a_name() -> None:
    with pytest.raises(SettingsError, match="AWS_IOT_THING_NAME"):
        parse(REQUIRED, device_name="", work=WORK)


VALUES = st.one_of(st.text(max_size=12), st.integers(), st.floats(), st.booleans(), st.none(), st.just({}))


@given(st.dictionaries(st.sampled_from(sorted(settings.DEFAULTS)), VALUES, max_size=5))
def test_any_values_are_read_or_refused_by_name(values: dict[str, object]) -> None:
    try:
        parsed = parse({**REQUIRED, **values}, device_name="thing", work=WORK)
    except SettingsError as error:
        assert any(name in str(error) for name in settings.DEFAULTS)  # noqa: PT017 # either way is right
    else:
        assert parsed.capture_data_batch_size < parsed.capture_data_buffer_size
        assert parsed.capture_data_disk_path.is_absolute()
        assert ".." not in parsed.folder_prefix.split("/")
