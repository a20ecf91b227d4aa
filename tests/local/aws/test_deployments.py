# SPDX-License-Identifier: Apache-2.0
"""The life of deployments under any order of requests, reports and comings and goings of devices."""

import dataclasses
import json
from collections.abc import Sequence

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from local.aws.extension.components import ComponentVersions
from local.aws.extension.deployments import REPORTED, TERMINAL, Deployments
from local.aws.extension.errors import ApiError

GROUP = "arn:aws:iot:us-east-1:111122223333:thinggroup/fleet"
THINGS = ("one", "two", "three")


@dataclasses.dataclass
class Memory:
    """A world of one group."""

    account: str = "111122223333"
    region: str = "us-east-1"
    clock: float = 0.0
    members: set[str] = dataclasses.field(default_factory=set)

    def now(self) -> float:
        self.clock += 1
        return self.clock

    def read_object(self, bucket: str, key: str) -> bytes | None:
        return f"{bucket}/{key}".encode()

    def things_of(self, target_arn: str) -> Sequence[str] | None:
        return sorted(self.members) if target_arn == GROUP else None

    def targets_of(self, thing: str) -> Sequence[str] | None:
        if thing not in THINGS:
            return None
        return [GROUP] if thing in self.members else []


class DeploymentLife(RuleBasedStateMachine):
    """Holds the deployments against what is true of them at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.world = Memory()
        self.deployments = Deployments(self.world, ComponentVersions(self.world))
        self.finished: dict[tuple[str, str], str] = {}

    @initialize(things=st.sets(st.sampled_from(THINGS), min_size=1))
    def join(self, things: set[str]) -> None:
        self.world.members |= things

    @rule(thing=st.sampled_from(THINGS))
    def come_or_go(self, thing: str) -> None:
        self.world.members ^= {thing}

    @rule()
    def create(self) -> None:
        created = self.deployments.create({"targetArn": GROUP})
        assert self.deployments.latest(GROUP) is created

    @precondition(lambda self: self.deployments.all())
    @rule(data=st.data(), thing=st.sampled_from(THINGS), status=st.sampled_from(sorted(REPORTED)))
    def report(self, data: st.DataObject, thing: str, status: str) -> None:
        deployment = data.draw(st.sampled_from(self.deployments.all()))
        before = deployment.execution(thing).status
        try:
            self.deployments.report(thing=thing, job_id=deployment.job_id, update={"status": status})
        except ApiError:
            assert thing not in self.world.members or before in TERMINAL
            assert deployment.execution(thing).status == before
        else:
            assert deployment.execution(thing).status == status
            if status in TERMINAL:
                self.finished[deployment.id, thing] = status

    @precondition(lambda self: self.deployments.all())
    @rule(data=st.data(), operation=st.sampled_from(["cancel", "delete"]))
    def end(self, data: st.DataObject, operation: str) -> None:
        deployment = data.draw(st.sampled_from(self.deployments.all()))
        active = self.deployments.status(deployment) == "ACTIVE"
        try:
            getattr(self.deployments, operation)(deployment.id)
        except ApiError as error:
            assert error.status == 409  # noqa: PT017 - which of the two happens depends on the state
            assert active is (operation == "delete")
        else:
            assert active is (operation == "cancel")

    @invariant()
    def a_device_has_at_most_one_open_deployment_of_a_target(self) -> None:
        for thing in THINGS:
            effective = self.deployments.effective(thing)
            assert len(effective) <= 1
            assert all(deployment is self.deployments.latest(GROUP) for deployment, _ in effective)

    @invariant()
    def what_a_device_finished_stays_finished(self) -> None:
        for deployment in self.deployments.all():
            for thing in THINGS:
                expected = self.finished.get((deployment.id, thing))
                assert expected in {None, deployment.execution(thing).status}

    @invariant()
    def complete_means_that_every_member_succeeded(self) -> None:
        for deployment in self.deployments.all():
            statuses = {deployment.execution(thing).status for thing in self.world.members}
            status = self.deployments.status(deployment)
            assert (status == "COMPLETED") == (deployment.closed is None and statuses == {"SUCCEEDED"})
            assert not (deployment.closed and statuses - TERMINAL), "a closed deployment leaves nothing open"


TestDeploymentLife = DeploymentLife.TestCase
TestDeploymentLife.settings = hypothesis.settings(max_examples=40, stateful_step_count=25, deadline=None)


@hypothesis.given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(lambda value: json.dumps(value).encode())
    | st.dictionaries(
        st.sampled_from(["RecipeFormatVersion", "ComponentName", "ComponentVersion", "Manifests"]),
        st.sampled_from(["2020-01-25", "1.0.0", "a.b", [{}], [{"Artifacts": [{"Uri": 1}]}], [1], {}, None]),
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_recipe_is_taken_or_refused_with_a_reason(document: bytes) -> None:
    versions = ComponentVersions(Memory())
    try:
        created = versions.create(document, tags={})
    except ApiError as error:
        assert error.code == "ValidationException"  # noqa: PT017 - most recipes are refused, some are taken
    else:
        assert versions.get(created.name, created.version) is created


def test_a_thing_that_is_not_there_has_no_deployments() -> None:
    world = Memory()
    with pytest.raises(ApiError, match="'four' does not exist"):
        Deployments(world, ComponentVersions(world)).effective("four")
