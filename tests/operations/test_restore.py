# SPDX-License-Identifier: Apache-2.0
"""The way back against the embedded AWS: what is kept, what is deployed again, and who may do it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import hypothesis
import pytest
from botocore.exceptions import ClientError
from hypothesis import strategies as st

from operations.documents import ADVANCED_BYTES, STANDARD_BYTES, decode, encode
from operations.errors import OperationError, RefusedError
from operations.gate import pass_gate
from operations.last_good import promote, read_last_good
from operations.prune import plan_pruning
from operations.restore import restore
from operations.roles import AssumedRole
from operations.verify import VerificationError, verify

CANARIES = {"devices": '["device-1", "device-2"]', "canaries": '["device-1"]'}


def latest(released: Any, group_arn: str) -> Any:
    greengrass = released.account.aws.client("greengrassv2")
    (summary,) = greengrass.list_deployments(targetArn=group_arn)["deployments"]
    return greengrass.get_deployment(deploymentId=summary["deploymentId"])


def versions(deployment: Any) -> list[str]:
    return [item["componentVersion"] for item in deployment["components"].values()]


@pytest.fixture
def thing(released: Any) -> str:
    return str(released.target.environment.thing_names[0])


@pytest.fixture
def take(released: Any, thing: str) -> Callable[[str], Callable[[], None]]:
    """The device carries out whatever its group was told last, and says that it runs this version."""

    def make(version: str) -> Callable[[], None]:
        return lambda: released.run(thing, latest(released, released.target.group_arn)["deploymentId"], version)

    return make


def test_a_failed_release_is_restored_and_cannot_pass_again(released: Any, thing: str, script: Any, take: Any) -> None:
    released.release("1.0.0")
    good = [take("1.0.0"), *[lambda: released.beat(thing)] * 2]
    gate = {"writer": released.target, "first": False, "restoring": True, "recording": True, "wait_seconds": 180}
    pass_gate(released.target, clock=script(*good).clock, **gate)
    bad = released.release("2.0.0")
    wrong = [take("2.0.0"), *[lambda: released.beat(thing, digest="e" * 64)] * 2, take("1.0.0")]
    with pytest.raises(VerificationError, match=r"wrong digest: (.|\n)*\nThe last good release runs again\. The same"):
        pass_gate(released.target, clock=script(*wrong).clock, **gate)
    restored = latest(released, released.target.group_arn)
    assert (versions(restored), restored["deploymentName"]) == (["1.0.0"], f"{released.account.namespace}-restore")
    assert restored["deploymentStatus"] == "COMPLETED"
    with pytest.raises(
        VerificationError, match=rf"deployment {bad}, which .* is not the group's active one(.|\n)*have"
    ):
        pass_gate(released.target, clock=script().clock, **gate)
    with pytest.raises(RefusedError, match=r"not kept as the last good release: .*is not the group's active one"):
        promote(released.target, writer=released.target)
    kept = read_last_good(released.target)
    assert kept is not None
    assert [versions(document) for document in kept.values()] == [["1.0.0"]]


def test_without_a_last_good_release_restore_says_so(released: Any, thing: str, script: Any, take: Any) -> None:
    released.release("1.0.0")
    wrong = [take("1.0.0"), *[lambda: released.beat(thing, digest="e" * 64)] * 2]
    message = r"wrong digest(.|\n)*Not restored: dev: there is no last good release .*/last-good does not exist in SSM"
    with pytest.raises(VerificationError, match=message):
        pass_gate(
            released.target,
            writer=released.target,
            first=False,
            restoring=True,
            recording=True,
            clock=script(*wrong).clock,
            wait_seconds=180,
        )
    assert read_last_good(released.target) is None


def test_a_verification_alone_restores_nothing(released: Any, script: Any) -> None:
    released.release("1.0.0")
    promote(released.target, writer=released.target)
    second = released.release("2.0.0")
    gate = {"writer": released.target, "first": False, "restoring": False, "recording": True, "wait_seconds": 30}
    with pytest.raises(VerificationError, match="no core device has ever reported"):
        pass_gate(released.target, clock=script().clock, **gate)
    assert latest(released, released.target.group_arn)["deploymentId"] == second


def test_what_cannot_be_looked_at_is_neither_good_nor_bad(released: Any, script: Any) -> None:
    released.release("1.0.0")
    promote(released.target, writer=released.target)
    second = released.release("2.0.0")
    table = released.target.environment.heartbeat_table
    released.account.aws.client("dynamodb").delete_table(TableName=table)
    gate = {"writer": released.target, "first": False, "restoring": True, "recording": True, "wait_seconds": 30}
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        pass_gate(released.target, clock=script().clock, **gate)
    assert latest(released, released.target.group_arn)["deploymentId"] == second


def test_canaries_alone_return_when_the_fleet_was_not_told_yet(make_released: Any, script: Any) -> None:
    released = make_released(**CANARIES)
    canary, other = released.target.environment.thing_names
    target = released.target
    first, fleet = released.release("1.0.0"), released.roll_out("1.0.0")
    promote(target, writer=target)
    assert first != fleet
    released.release("2.0.0")
    back = lambda: released.run(  # noqa: E731 -- a step of the script
        canary, latest(released, target.first_group_arn)["deploymentId"], "1.0.0"
    )
    made = restore(target, writer=target, clock=script(back).clock)
    assert list(made) == [target.environment.canary_group]
    assert latest(released, target.group_arn)["deploymentId"] == fleet
    released.release("3.0.0")
    released.roll_out("3.0.0")
    both = [
        back,
        lambda: released.run(other, latest(released, target.group_arn)["deploymentId"], "1.0.0"),
    ]
    assert len(restore(target, writer=target, clock=script(*both).clock)) == 2
    assert restore(target, writer=target, clock=script().clock) == {}


def test_devices_that_do_not_return_are_named(released: Any, thing: str, script: Any) -> None:
    released.release("1.0.0")
    promote(released.target, writer=released.target)
    released.release("2.0.0")
    with pytest.raises(OperationError, match=rf"{thing}: not back within 1 minutes.* offline take it"):
        restore(released.target, writer=released.target, clock=script().clock, wait_seconds=60)
    failing = lambda: released.account.report(  # noqa: E731 -- a step of the script
        thing, latest(released, released.target.group_arn)["deploymentId"], "FAILED", why="no disk"
    )
    released.release("3.0.0")
    with pytest.raises(OperationError, match=rf"{thing}: FAILED \(no disk\)"):
        restore(released.target, writer=released.target, clock=script(failing).clock, wait_seconds=60)


def test_what_the_last_good_release_names_is_not_pruned(released: Any) -> None:
    target = released.target
    deployment = released.release("1.0.0")
    promote(target, writer=target)
    released.release("2.0.0")
    # As CloudFormation does with a deployment that it replaced.
    released.account.aws.client("greengrassv2").delete_deployment(deploymentId=deployment)
    assert plan_pruning(target).versions == []
    released.account.aws.client("ssm").delete_parameter(Name=target.environment.last_good_parameter)
    assert [str(version).split()[-1] for version in plan_pruning(target).versions] == ["1.0.0"]


def test_a_damaged_record_is_refused(released: Any) -> None:
    parameter = {"Name": released.target.environment.last_good_parameter, "Type": "String", "Overwrite": True}
    released.account.aws.client("ssm").put_parameter(Value="rubbish", **parameter)
    with pytest.raises(OperationError, match=r"cannot be read \(.*\), it begins 'rubbish'; .* writes it anew"):
        read_last_good(released.target)


documents = st.dictionaries(
    st.text("abc-", min_size=1),
    st.fixed_dictionaries(
        {"components": st.dictionaries(st.text(), st.dictionaries(st.text(), st.text(max_size=200)), max_size=20)}
    ),
    min_size=1,
    max_size=2,
)


@hypothesis.given(documents)
def test_any_document_is_kept_as_it_is_or_refused(groups: dict[str, Any]) -> None:
    try:
        text = encode(groups)
    except OperationError as error:
        assert "cannot be kept as the last good one" in str(error)  # noqa: PT017 -- whether it fits depends on it
    else:
        assert len(text) <= ADVANCED_BYTES
        assert text.isascii()
        assert decode(text) == groups


@hypothesis.given(
    st.text()
    | st.text().map(lambda text: "zlib:" + text)
    | st.recursive(
        st.none() | st.text(), lambda value: st.dictionaries(st.sampled_from(["groups", "components"]), value)
    ).map(json.dumps)
)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        groups = decode(text)
    except OperationError:
        return
    assert all("components" in document for document in groups.values())


def test_large_documents_are_compressed_and_too_large_ones_refused() -> None:
    labels = {"components": {"a": {"configurationUpdate": {"merge": json.dumps({"Labels": ["label"] * 1000})}}}}
    text = encode({"fleet": labels})
    assert (text[:5], decode(text)) == ("zlib:", {"fleet": labels})
    assert len(text) < STANDARD_BYTES < len(json.dumps(labels))
    many = {"components": {str(n): {"merge": str(n**9)} for n in range(3000)}}
    with pytest.raises(OperationError, match=r"fleet have \d+ bytes compressed, an SSM parameter takes 8192"):
        encode({"fleet": many})


def test_a_role_is_assumed_again_before_it_ends() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assumed: list[str] = []

    class Sts:
        def assume_role(self, **arguments: str) -> Any:
            assumed.append(arguments["RoleArn"])
            credentials = {"AccessKeyId": "a", "SecretAccessKey": "b", "SessionToken": "c"}
            return {"Credentials": {**credentials, "Expiration": now + timedelta(hours=1)}}

    role = AssumedRole(Sts(), arn="arn:aws:iam::1:role/r", region="eu-west-1", now=lambda: now)
    first = role.client("ssm")
    assert role.client("ssm") is first
    assert first.meta.region_name == "eu-west-1"
    now += timedelta(minutes=49)
    assert (role.client("ssm") is first, len(assumed)) == (True, 1)
    now += timedelta(minutes=2)
    assert (role.client("ssm") is first, len(assumed)) == (False, 2)


def test_verify_reads_only(released: Any, thing: str, script: Any, take: Any) -> None:
    released.release("1.0.0")
    before = len(released.account.aws.calls())
    steps = [take("1.0.0"), *[lambda: released.beat(thing)] * 2]
    verify(released.target, first=False, clock=script(*steps).clock)
    asked = {str(call.action) for call in released.account.aws.calls()[before:]}
    played = {"dynamodb:PutItem", "iot:Publish", "greengrass:ListDeployments"}
    assert asked - played <= {
        "cloudformation:DescribeStacks",
        "dynamodb:BatchGetItem",
        "greengrass:GetCoreDevice",
        "greengrass:GetDeployment",
        "greengrass:ListEffectiveDeployments",
        "greengrass:ListInstalledComponents",
    }
