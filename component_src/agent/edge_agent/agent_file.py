# SPDX-License-Identifier: Apache-2.0
"""The agent's own JSON configuration file, for devices without a nucleus: Edge Manager's ``sagemaker_edge_*`` keys.

Keys that have a component parameter stand for it; parameters may also be given under their component names. What
this agent does not need (paths of AWS's plug-ins) is accepted and named in the log.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from edge_agent.parameter_reader import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_PREFIX = "sagemaker_edge_"
_PARAMETERS: Mapping[str, str] = {
    "sagemaker_edge_core_device_fleet_name": "DeviceFleetName",
    "sagemaker_edge_provider_s3_bucket_name": "BucketName",
    "sagemaker_edge_core_capture_data_batch_size": "CaptureDataBatchSize",
    "sagemaker_edge_core_capture_data_buffer_size": "CaptureDataBufferSize",
    "sagemaker_edge_core_capture_data_destination": "CaptureDataDestination",
    "sagemaker_edge_core_capture_data_periodic_upload": "CaptureDataPeriodicUpload",
    "sagemaker_edge_core_capture_data_periodic_upload_period_seconds": "CaptureDataPeriodicUploadPeriodSeconds",
    "sagemaker_edge_core_capture_data_push_period_seconds": "CaptureDataPushPeriodSeconds",
    "sagemaker_edge_core_capture_data_base64_embed_limit": "CaptureDataBase64EmbedLimit",
    "sagemaker_edge_core_capture_data_disk_path": "CaptureDataDiskPath",
    "sagemaker_edge_core_folder_prefix": "FolderPrefix",
    "sagemaker_edge_core_root_certs_path": "RootCertsPath",
    "sagemaker_edge_local_data_root_path": "LocalDataRootPath",
    "sagemaker_edge_model_deployment_poll_interval": "DeploymentPollInterval",
    "sagemaker_edge_dlr_backend_options": "DLRBackendOptions",
    "sagemaker_edge_log_verbose": "SagemakerEdgeLogVerbose",
}
#: AWS's agent switched these on by the path of a plug-in; any path means true.
_SWITCHES: Mapping[str, str] = {
    "sagemaker_edge_db_module_path": "DbEnable",
    "sagemaker_edge_deployment_lib_path": "DeploymentEnable",
}
_DEVICE_NAMES = (
    "sagemaker_edge_core_device_name",
    "sagemaker_edge_core_device_uuid",
    "sagemaker_edge_core_iot_thing_name",
)
_REGION = "sagemaker_edge_core_region"
_PROVIDER = "sagemaker_edge_provider_provider"
_WITHOUT_EFFECT = {
    "sagemaker_edge_provider_provider_path",
    "sagemaker_edge_core_endpoint_override",
    "sagemaker_edge_core_config_path",
    "sagemaker_edge_telemetry_libsystemd_path",
}
_CREDENTIALS: Mapping[str, str] = {
    "endpoint": "sagemaker_edge_provider_aws_iot_cred_endpoint",
    "ca_file": "sagemaker_edge_provider_aws_ca_cert_file",
    "certificate_file": "sagemaker_edge_provider_aws_cert_file",
    "key_file": "sagemaker_edge_provider_aws_cert_pk_file",
}


@dataclasses.dataclass(frozen=True)
class IotCredentials:
    """Where a device without a token exchange service gets its credentials.

    Attributes:
        endpoint: ``https://<host>/role-aliases/<alias>/credentials``.
        ca_file: Certificates that the endpoint's may be signed by, PEM.
        certificate_file: The device's certificate, PEM.
        key_file: Its private key, PEM.
    """

    endpoint: str
    ca_file: str
    certificate_file: str
    key_file: str


@dataclasses.dataclass(frozen=True)
class AgentFile:
    """A configuration file, read.

    Attributes:
        values: Component parameters.
        device_name: Empty when the file does not say.
        region: The same.
        credentials: None when the environment has them.
        ignored: Keys that steer nothing here.
    """

    values: dict[str, object]
    device_name: str
    region: str
    credentials: IotCredentials | None
    ignored: list[str]


def read_agent_file(path: Path) -> AgentFile:
    """Read a configuration file.

    Raises:
        SettingsError: It cannot be read, is no JSON object, or asks for what this agent does not have.
    """
    given = _load(path)
    own = {key: value for key, value in given.items() if not key.startswith(_PREFIX)}
    keys = {key: value for key, value in given.items() if key.startswith(_PREFIX)}
    values: dict[str, object] = {}
    if keys:
        # In its own file AWS's agent wrote to disk unless told otherwise; only its component had the cloud as default.
        values["CaptureDataDestination"] = "Disk"
    values.update({name: _text(keys, key) for key, name in _PARAMETERS.items() if key in keys})
    values.update({name: "true" for key, name in _SWITCHES.items() if _text(keys, key)})
    # A key that nobody knows goes with the parameters, where it is named as unknown.
    known = {*_PARAMETERS, *_SWITCHES, *_DEVICE_NAMES, _REGION, _PROVIDER, *_WITHOUT_EFFECT, *_CREDENTIALS.values()}
    values.update({key: value for key, value in keys.items() if key not in known})
    values.update(own)
    _check_provider(keys, values)
    return AgentFile(
        values=values,
        device_name=next((name for name in (_text(keys, key) for key in _DEVICE_NAMES) if name), ""),
        region=_text(keys, _REGION),
        credentials=_credentials(keys),
        ignored=sorted(_WITHOUT_EFFECT & set(keys)),
    )


def _load(path: Path) -> dict[str, object]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"{path}: expected a readable JSON file with the agent's parameters: {error}") from None
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: expected a JSON object with the agent's parameters, got {values!r:.100}")
    return values


def _text(keys: Mapping[str, object], key: str) -> str:
    value = keys.get(key, "")
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, (str, int, float)) or "\0" in str(value):
        raise SettingsError(f"{key}: expected a string or a number, got {value!r:.100}")
    return str(value).strip()


def _check_provider(keys: Mapping[str, object], values: Mapping[str, object]) -> None:
    provider = _text(keys, _PROVIDER) or "Aws"
    if provider not in {"Aws", "None"}:
        raise SettingsError(f"{_PROVIDER}: expected Aws or None, got {provider!r}: plug-ins cannot be loaded here")
    uploads = str(values.get("CaptureDataPeriodicUpload", "false")).lower() == "true"
    if provider == "None" and (values.get("CaptureDataDestination") != "Disk" or uploads):
        raise SettingsError(
            f"{_PROVIDER}: None leaves nothing to upload with: expected the capture destination Disk without periodic "
            "upload"
        )


def _credentials(keys: Mapping[str, object]) -> IotCredentials | None:
    given = {field: _text(keys, key) for field, key in _CREDENTIALS.items()}
    if not any(given.values()):
        return None
    if missing := [_CREDENTIALS[field] for field, value in given.items() if not value]:
        raise SettingsError(f"{', '.join(missing)}: expected together with the other keys for X.509 credentials")
    if not given["endpoint"].startswith("https://"):
        raise SettingsError(
            f"{_CREDENTIALS['endpoint']}: expected https://<host>/role-aliases/<alias>/credentials, "
            f"got {given['endpoint']!r:.200}"
        )
    return IotCredentials(**given)
