# SPDX-License-Identifier: Apache-2.0
"""A device is updated while the component works: the real component and agent, AWS's IPC client between them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Device = Any  # the class stands in conftest.py, which tests cannot import
    Eventually = Callable[..., None]

OWN = "dev.com.edgemanager.ImageClassification"
IMAGES = 360


def test_an_update_in_a_pass_comes_after_it_and_costs_no_image(asking_device: Device, eventually: Eventually) -> None:
    device = asking_device
    names = device.add_images(IMAGES)
    # Passes follow one another: without a pause for the update there would be no good moment.
    device.nucleus.configure(OWN, InferenceInterval="0")
    device.start_agent()
    component = device.start()
    eventually(lambda: len(component.events("prediction")) >= 5)
    update = device.nucleus.update("deployment-1")
    eventually(lambda: component.events("update_deferred"))
    assert not component.events("pass_finished"), "the update came too late to be deferred in the first pass"

    update.result(60)  # the nucleus stops components now
    assert component.stop() == 0
    predictions = component.events("prediction")
    assert [line["image"] for line in predictions] == names
    assert [line["images"] for line in component.events("pass_finished")] == [IMAGES]
    assert not component.events("capture_lost")
    eventually(lambda: len(device.captures()) == IMAGES)
    captures = Counter(record["eventMetadata"]["eventId"] for record in device.captures())
    assert captures == Counter(line["capture_id"] for line in predictions)
    assert len(device.published) == IMAGES


def test_an_update_of_others_between_passes_is_let_through_and_waited_for(
    asking_device: Device, eventually: Eventually
) -> None:
    device = asking_device
    names = device.add_images(2)
    device.start_agent()
    component = device.start()
    eventually(lambda: component.events("pass_finished"))
    device.nucleus.update("deployment-1").result(10)
    assert not component.events("update_deferred")
    # What would begin a pass at once waits, as the component may be stopped in it.
    device.nucleus.configure(OWN, InferenceInterval="0", ImageName=names[0])
    eventually(lambda: component.events("configuration_changed"))
    assert len(component.events("pass_finished")) == 1
    device.nucleus.end_update("deployment-1")
    eventually(lambda: len(component.events("pass_finished")) > 2)


def test_patience_ends(asking_device: Device, eventually: Eventually) -> None:
    device = asking_device
    device.add_images(IMAGES)
    device.nucleus.configure(OWN, UpdateDeferSeconds="0.2")
    agent = device.start_agent()
    component = device.start()
    eventually(lambda: len(component.events("prediction")) >= 5)
    agent.kill()  # and with it the pass stands still
    eventually(lambda: component.events("agent_lost"))
    device.nucleus.update("deployment-1").result(10)
    assert [line["in_pass"] for line in component.events("update_awaited")] == [True]
    assert component.events("update_deferred")
    assert component.stop() == 0


@pytest.mark.parametrize("nucleus", ["classic", "lite"])
def test_a_nucleus_that_comes_again_is_asked_to_ask_again(
    nucleus: str, asking_device: Device, eventually: Eventually
) -> None:
    device = asking_device
    if nucleus == "lite":
        device.nucleus.service.updates = None
    device.add_images(2)
    device.nucleus.configure(OWN, InferenceInterval="0.2")
    device.start_agent()
    component = device.start()
    eventually(lambda: component.events("pass_finished"))
    device.nucleus.close()
    eventually(lambda: component.events("publish_failed"))
    device.nucleus.open()
    eventually(lambda: component.events("nucleus_connected_again"))
    refused = component.events("updates_not_announced")
    if nucleus == "lite":
        assert len(refused) == 1
        assert "ServiceError" in refused[0]["error"]
        assert refused[0]["level"] == "INFO"
    else:
        assert not refused
        # It asks nobody until the component has subscribed again.
        eventually(lambda: device.nucleus.update("deployment-1").result(10) or component.events("update_awaited"))
    passes = len(component.events("pass_finished"))
    if nucleus == "classic":
        device.nucleus.end_update("deployment-1")
    eventually(lambda: len(component.events("pass_finished")) > passes)
