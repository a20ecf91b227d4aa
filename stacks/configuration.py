# SPDX-License-Identifier: Apache-2.0
"""What an environment's settings become on a device: the configuration that the deployment merges, all strings."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from edge_constructs.model_folder import ModelFolder, Preprocessing
from stacks.environment import Environment, Inference

HEARTBEAT_TOPIC = "gg/sageMakerEdgeManager/heartbeat"  # the agent's default, which its recipe grants


def agent_configuration(environment: Environment) -> dict[str, str]:
    """The agent's parameters, under Edge Manager's names (specification §2.2)."""
    capture = environment.capture
    return {
        "BucketName": environment.capture_bucket,
        "CaptureDataBase64EmbedLimit": str(capture.base64_embed_limit),
        "CaptureDataBatchSize": str(capture.batch_size),
        "CaptureDataBufferSize": str(capture.buffer_size),
        "CaptureDataDestination": capture.destination,
        "CaptureDataPushPeriodSeconds": str(capture.push_period_seconds),
        "DeviceFleetName": environment.thing_group,
        "FolderPrefix": capture.folder_prefix,
        "SagemakerEdgeLogVerbose": str(environment.agent.log_verbose).lower(),
        "UnixSocketName": environment.agent.unix_socket_name,
    }


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
