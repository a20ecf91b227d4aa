# SPDX-License-Identifier: Apache-2.0
"""What an environment's settings become on a device: the configuration that the deployment merges, all strings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter

from edge_constructs.model_folder import ModelFolder, Preprocessing
from stacks.environment import Environment, Inference

HEARTBEAT_TOPIC = "gg/sageMakerEdgeManager/heartbeat"  # the agent's default, which its recipe grants


def agent_configuration(environment: Environment) -> dict[str, str]:
    """The agent's parameters, under Edge Manager's names (specification §2.2): the same in either mode.

    A path or option that is blank is left out, as the agent's own default then holds.
    """
    agent, capture = environment.agent, environment.capture
    optional = {
        "CaptureDataDiskPath": capture.disk_path,
        "DLRBackendOptions": agent.dlr_backend_options,
        "LocalDataRootPath": agent.local_data_root_path,
    }
    return {
        "BucketName": environment.capture_bucket,
        "CaptureDataBase64EmbedLimit": str(capture.base64_embed_limit),
        "CaptureDataBatchSize": str(capture.batch_size),
        "CaptureDataBufferSize": str(capture.buffer_size),
        "CaptureDataDestination": capture.destination,
        "CaptureDataPeriodicUpload": str(capture.periodic_upload).lower(),
        "CaptureDataPeriodicUploadPeriodSeconds": str(capture.periodic_upload_period_seconds),
        "CaptureDataPushPeriodSeconds": str(capture.push_period_seconds),
        "DbEnable": str(agent.db_enable).lower(),
        "DeploymentEnable": str(agent.deployment_enable).lower(),
        "DeploymentPollInterval": str(agent.deployment_poll_minutes),
        "DeviceFleetName": environment.thing_group,
        "FolderPrefix": capture.folder_prefix,
        "SagemakerEdgeLogVerbose": str(agent.log_verbose).lower(),
        "UnixSocketName": agent.unix_socket_name,
        **{name: value for name, value in optional.items() if value},
    }


def open_configuration(environment: Environment, public_keys: Sequence[str]) -> dict[str, str]:
    """Our agent's own: how often it speaks, and what it trusts: public keys in base64, known at deploy time."""
    return {
        **{name: _parameter(value) for name, value in environment.agent.parameters.items()},
        "HeartbeatPeriodSeconds": str(environment.heartbeat.period_seconds),
        "RequireSignature": str(environment.signing.require).lower(),
        "SigningPublicKeys": " ".join(public_keys),
    }


def _parameter(value: str | int | bool) -> str:  # noqa: FBT001 -- as TOML has it
    return str(value).lower() if isinstance(value, bool) else str(value)


def inference_configuration(
    inference: Inference, *, component: str, model: ModelFolder, agent: str, model_component: str
) -> dict[str, Any]:
    """An inference component's parameters; labels and preprocessing come from the model's folder.

    One component's files cannot be addressed from another's recipe on every nucleus, so they travel as configuration.
    The model's path is relative to the agent's work directory, as in AWS's samples.
    """
    preprocessing = TypeAdapter(Preprocessing).dump_python(model.preprocessing)
    return {
        "EdgeManagerComponent": agent,
        "ImageDirectory": inference.image_directory,
        "ImageName": inference.image_name,
        "InferenceInterval": str(inference.interval_seconds),
        "Labels": model.label_list,
        "ModelName": model.name,
        "ModelPath": f"../{model_component}",
        "Preprocessing": {key: _text(value) for key, value in preprocessing.items()},
        "PublishResultsOnTopic": inference.topic,
        "UpdateDeferSeconds": str(inference.defer_update_seconds),
        "accessControl": _publish_policy(component, inference.topic),
    }


def _publish_policy(component: str, topic: str) -> dict[str, Any]:
    return {
        "aws.greengrass.ipc.mqttproxy": {
            f"{component}:mqttproxy:1": {
                "policyDescription": "Publish inference results to the environment's topic.",
                "operations": ["aws.greengrass#PublishToIoTCore"],
                "resources": [topic],
            }
        }
    }


def _text(value: Any) -> Any:
    """A number as text: nuclei write 8 as 8.0 and 0.5 as 0.50000000000000000."""
    if isinstance(value, (list, tuple)):
        return [_text(item) for item in value]
    return value if isinstance(value, str) else repr(value)
