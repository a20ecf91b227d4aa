# SPDX-License-Identifier: Apache-2.0
"""The component's parameters, checked and typed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_inference.errors import ConfigurationError
from edge_inference.preprocessing import Preprocessing
from edge_inference.task import Task
from edge_inference.values import boolean, from_json, number, shown, text

AGENT_COMPONENT = "com.edgemanager.Agent"
INTERVAL_SECONDS = 3600
UPDATE_DEFER_SECONDS = 300
_LONGEST_DEFERRAL = 24 * 3600
_LONGEST_INTERVAL = 30 * 24 * 3600
_ALIAS = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*")
_LONGEST_ALIAS = 255
_LONGEST_TOPIC = 256
_LONGEST_LABEL = 200  # five of them fit into the smallest message that a nucleus passes on
_NOT_PARAMETERS = {"accessControl"}


@dataclass(frozen=True)
class Served:
    """Which model is used, and where."""

    socket: Path
    model_name: str
    model_path: str


@dataclass(frozen=True)
class Looked:
    """What is looked at: a change begins a new pass."""

    image_directory: Path
    image_name: str
    preprocessing: Preprocessing


@dataclass(frozen=True)
class Settings:
    """The component's parameters; see the recipe and the README for their names and defaults.

    Attributes:
        agent_component: whose configuration names the socket.
        served: the model.
        looked: the images. A blank image_name is every image of the directory.
        interval: seconds between the end of a pass and the begin of the next.
        topic: of IoT Core; blank publishes nothing.
        labels: in the order of the model's output; empty shows the index instead.
        capture: whether inputs and outputs are given to the agent for keeping.
        update_defer: seconds for which a pass may put an update of the device off, all in all.
    """

    agent_component: str
    served: Served
    looked: Looked
    interval: float
    topic: str
    labels: tuple[str, ...]
    capture: bool
    update_defer: float


_PARAMETERS = (
    "CaptureData",
    "EdgeManagerComponent",
    "ImageDirectory",
    "ImageName",
    "InferenceInterval",
    "Labels",
    "ModelName",
    "ModelPath",
    "Preprocessing",
    "PublishResultsOnTopic",
    "UnixSocketName",
    "UpdateDeferSeconds",
)


def agent_component(own: Mapping[str, object]) -> str:
    """Name the component whose configuration is needed for `parse`."""
    return text("EdgeManagerComponent", own.get("EdgeManagerComponent", AGENT_COMPONENT)) or AGENT_COMPONENT


def unknown(own: Mapping[str, object]) -> list[str]:
    """Keys that are no parameters: misspelt ones, most often."""
    return sorted(set(own) - set(_PARAMETERS) - _NOT_PARAMETERS)


def parse(own: Mapping[str, object], agent: Mapping[str, object], *, task: Task, sample_images: Path) -> Settings:
    """Check and type the parameters.

    Args:
        own: the component's configuration.
        agent: the agent component's configuration; its UnixSocketName wins over one's own.
        task: names the model and the topic that are meant when nothing is said.
        sample_images: the directory that a blank ImageDirectory means.

    Raises:
        ConfigurationError: names the parameter, what was expected and what came.
    """
    directory = text("ImageDirectory", own.get("ImageDirectory", ""))
    return Settings(
        agent_component=agent_component(own),
        served=Served(socket=_socket(own, agent), model_name=_model_name(own, task), model_path=_model_path(own)),
        looked=Looked(
            image_directory=Path(directory).absolute() if directory else sample_images,
            image_name=_image_name(own),
            preprocessing=Preprocessing.parse(from_json("Preprocessing", own.get("Preprocessing"))),
        ),
        interval=number(
            "InferenceInterval", own.get("InferenceInterval", INTERVAL_SECONDS), low=0, high=_LONGEST_INTERVAL
        ),
        topic=_topic(own, task),
        labels=_labels(from_json("Labels", own.get("Labels", ()))),
        capture=boolean("CaptureData", own.get("CaptureData", True)),
        update_defer=number(
            "UpdateDeferSeconds", own.get("UpdateDeferSeconds", UPDATE_DEFER_SECONDS), low=0, high=_LONGEST_DEFERRAL
        ),
    )


def _socket(own: Mapping[str, object], agent: Mapping[str, object]) -> Path:
    name = text("UnixSocketName", agent.get("UnixSocketName") or own.get("UnixSocketName", ""))
    if not name.startswith("/"):
        raise ConfigurationError(
            f"UnixSocketName: expected an absolute path in the configuration of {agent_component(own)} "
            f"(its name is the parameter EdgeManagerComponent) or in one's own, got {shown(name)}"
        )
    return Path(name)


def _model_name(own: Mapping[str, object], task: Task) -> str:
    name = text("ModelName", own.get("ModelName", task.model_name))
    if not _ALIAS.fullmatch(name) or len(name) > _LONGEST_ALIAS:
        raise ConfigurationError(
            f"ModelName: expected 1 to {_LONGEST_ALIAS} letters and digits, hyphens between them, got {shown(name)}"
        )
    return name


def _model_path(own: Mapping[str, object]) -> str:
    path = text("ModelPath", own.get("ModelPath", ""))
    if not path:
        raise ConfigurationError(
            "ModelPath: expected the directory of the model's package, absolute or relative to the agent's working "
            "directory such as ../<model component>, got a blank"
        )
    return path


def _image_name(own: Mapping[str, object]) -> str:
    name = text("ImageName", own.get("ImageName", ""))
    if name in {".", ".."} or "/" in name:
        raise ConfigurationError(
            f"ImageName: expected the name of a file in ImageDirectory, or a blank for all of them, got {shown(name)}"
        )
    return name


def _topic(own: Mapping[str, object], task: Task) -> str:
    topic = text("PublishResultsOnTopic", own.get("PublishResultsOnTopic", task.topic))
    if len(topic.encode()) > _LONGEST_TOPIC or set(topic) & set("+#"):
        raise ConfigurationError(
            f"PublishResultsOnTopic: expected a topic of at most {_LONGEST_TOPIC} bytes without + and #, "
            f"or a blank to publish nothing, got {shown(topic)}"
        )
    return topic


def _labels(value: object) -> tuple[str, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ConfigurationError(f"Labels: expected a JSON list of strings, got {shown(value)}")
    labels = tuple(text(f"Labels[{index}]", label) for index, label in enumerate(value))
    for index, label in enumerate(labels):
        if not 0 < len(label) <= _LONGEST_LABEL:
            raise ConfigurationError(f"Labels[{index}]: expected 1 to {_LONGEST_LABEL} characters, got {shown(label)}")
    return labels
