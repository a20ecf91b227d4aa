# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_image_classification.task import ImageClassification
from edge_inference import configuration
from edge_inference.errors import ConfigurationError

PREPROCESSING = {"input": "image", "layout": "NCHW", "width": 8, "height": 8, "channels": "L"}
OWN: dict[str, Any] = {"ModelPath": "../model", "Preprocessing": PREPROCESSING}
AGENT = {"UnixSocketName": "/run/agent.sock"}
SAMPLES = Path("/samples")
_RECIPE = Path(__file__).parents[3] / "component_src" / "image_classification" / "recipe.json"


def parse(own: dict[str, Any], agent: dict[str, Any] | None = None) -> configuration.Settings:
    return configuration.parse(
        own, AGENT if agent is None else agent, task=ImageClassification(), sample_images=SAMPLES
    )


def test_defaults_are_those_of_the_recipe() -> None:
    recipe = json.loads(_RECIPE.read_text(encoding="utf-8"))
    default = recipe["ComponentConfiguration"]["DefaultConfiguration"]
    model = {"ModelPath": default["ModelPath"], "Preprocessing": PREPROCESSING}
    settings = parse({**default, **model})
    assert settings == parse(model)
    assert configuration.unknown(default) == []
    assert settings.looked.image_directory == SAMPLES
    assert (settings.interval, settings.capture, settings.looked.image_name) == (3600, True, "")
    (policy,) = default["accessControl"]["aws.greengrass.ipc.mqttproxy"].values()
    assert policy["resources"] == [settings.topic]


def test_the_agents_socket_wins_and_ones_own_stands_in() -> None:
    own = {**OWN, "UnixSocketName": "/run/own.sock"}
    assert parse(own).served.socket == Path("/run/agent.sock")
    assert parse(own, {}).served.socket == Path("/run/own.sock")
    assert parse(own, {"UnixSocketName": ""}).served.socket == Path("/run/own.sock")


def test_lists_and_objects_may_come_as_json_in_a_string() -> None:
    own = {**OWN, "Labels": ["zero", "one"], "InferenceInterval": "5", "CaptureData": "False"}
    settings = parse({key: value if isinstance(value, str) else json.dumps(value) for key, value in own.items()})
    assert settings == parse(own)
    assert settings.labels == ("zero", "one")
    assert settings.capture is False


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ModelPath": ""}, "ModelPath: expected the directory of the model's package"),
        ({"ModelName": "a_b"}, 'ModelName: expected 1 to 255 letters and digits.*got "a_b"'),
        ({"ModelName": "a-"}, "ModelName"),
        ({"ImageName": "../etc/passwd"}, "ImageName: expected the name of a file in ImageDirectory"),
        ({"ImageName": 7}, "ImageName: expected a string, got 7"),
        ({"ImageDirectory": "a\0b"}, "ImageDirectory: expected printable characters only"),
        ({"InferenceInterval": "soon"}, 'InferenceInterval: expected a number from 0 to .* got "soon"'),
        ({"InferenceInterval": "-1"}, 'InferenceInterval: .* got "-1"'),
        ({"InferenceInterval": "inf"}, "InferenceInterval"),
        ({"InferenceInterval": None}, "InferenceInterval: .* got null"),
        ({"PublishResultsOnTopic": "a/#"}, "PublishResultsOnTopic: expected a topic"),
        ({"PublishResultsOnTopic": "x" * 257}, "PublishResultsOnTopic"),
        ({"CaptureData": "yes"}, 'CaptureData: expected "true" or "false", got "yes"'),
        ({"Labels": "zero,one"}, "Labels: expected JSON"),
        ({"Labels": {"0": "zero"}}, "Labels: expected a JSON list"),
        ({"Labels": ["zero", ""]}, r"Labels\[1\]: expected 1 to 200 characters"),
        ({"Labels": ["zero", 1]}, r"Labels\[1\]: expected a string, got 1"),
        ({"Preprocessing": "{"}, "Preprocessing: expected JSON"),
        ({"EdgeManagerComponent": []}, r"EdgeManagerComponent: expected a string, got \[\]"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_was_expected_and_what_came(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse({**OWN, **change})


def test_no_socket_at_all_names_the_component_that_should_have_told_it() -> None:
    with pytest.raises(ConfigurationError, match=r"absolute path in the configuration of dev\.Agent"):
        parse({**OWN, "EdgeManagerComponent": "dev.Agent"}, {})


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(configuration._PARAMETERS), _JSON))
def test_whatever_comes_is_taken_or_refused_by_name(own: dict[str, Any]) -> None:
    refused = ""
    try:
        settings = parse({**OWN, **own})
    except ConfigurationError as error:
        refused = str(error)
    else:
        assert settings.interval >= 0
        assert settings.served.model_path
    assert not refused or re.split(r"[:.\[]", refused)[0] in configuration._PARAMETERS


def test_misspelt_parameters_are_found() -> None:
    assert configuration.unknown({**OWN, "InferenceIntervall": "5", "accessControl": {}}) == ["InferenceIntervall"]
