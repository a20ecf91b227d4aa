# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from operations.destroy import destroy
from operations.device import make_device
from operations.errors import OperationError, RefusedError


def run(account: Any, **options: Any) -> list[list[str]]:
    calls: list[list[str]] = []
    arguments = {"approved": True, "force": False, "device_seconds": 10.0, "confirm": lambda _question: False}
    destroy(account.target, cdk=lambda given: calls.append(list(given)), **{**arguments, **options})
    return calls


def never(arguments: Sequence[str]) -> None:
    raise AssertionError(f"the CDK must not run: {arguments}")


def newest(account: Any) -> Any:
    listed = account.aws.client("greengrassv2").list_deployments(targetArn=account.target.group_arn)["deployments"]
    return listed[0] if listed else None


@pytest.fixture
def running(account: Any) -> Any:
    """A core device that runs a deployment."""
    account.make_version("com.example.App", "1.0.0")
    deployment = account.make_deployment({"com.example.App": "1.0.0"})
    account.report(f"{account.namespace}-device-1", deployment, "SUCCEEDED")
    return account


def answer(account: Any, status: str) -> threading.Thread:
    """The device answers the deployment of no components a moment later."""

    def report() -> None:
        deadline = time.monotonic() + 10
        while newest(account).get("deploymentName") != f"{account.namespace}-destroy" and time.monotonic() < deadline:
            time.sleep(0.05)
        account.report(f"{account.namespace}-device-1", newest(account)["deploymentId"], status)

    thread = threading.Thread(target=report)
    thread.start()
    return thread


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("operations.greengrass._POLL_SECONDS", 0.1)


def test_devices_are_cleared_before_anything_is_deleted(running: Any) -> None:
    thread = answer(running, "SUCCEEDED")
    run(running)
    thread.join()
    assert f"  {running.namespace}-device-1: SUCCEEDED" in running.said
    greengrass = running.aws.client("greengrassv2")
    assert greengrass.list_deployments(targetArn=running.target.group_arn, historyFilter="ALL")["deployments"] == []
    things = [device["coreDeviceThingName"] for device in greengrass.list_core_devices()["coreDevices"]]
    assert f"{running.namespace}-device-1" not in things
    assert (running.versions(), running.keys()) == ([], [])


def test_an_offline_device_is_named_and_nothing_is_destroyed(running: Any) -> None:
    with pytest.raises(OperationError, match=r"-device-1: did not remove their components within 0.3 s; .*FORCE=yes"):
        destroy(
            running.target, cdk=never, confirm=lambda _question: False, approved=True, force=False, device_seconds=0.3
        )
    assert running.versions() == ["com.example.App 1.0.0"]


def test_a_device_that_fails_is_named(running: Any) -> None:
    thread = answer(running, "FAILED")
    with pytest.raises(OperationError, match=r"-device-1 \(FAILED\): did not remove their components"):
        run(running)
    thread.join()


def test_force_does_not_wait(running: Any) -> None:
    started = time.monotonic()
    run(running, force=True)
    assert time.monotonic() - started < 8
    assert running.versions() == []


CANARIES = {"devices": '["device-1", "device-2"]', "canaries": '["device-1"]'}


def test_canaries_and_fleet_are_cleared_both(make_account: Any) -> None:
    account = make_account(**CANARIES)
    account.make_fleet()
    account.make_version("com.example.App", "1.0.0")
    account.make_version("com.example.App", "1.1.0")
    target = account.target
    for group, version, device in (
        (target.first_group_arn, "1.1.0", "device-1"),
        (target.group_arn, "1.0.0", "device-2"),
    ):
        deployment = account.make_deployment({"com.example.App": version}, target=group)
        account.report(f"{account.namespace}-{device}", deployment, "SUCCEEDED")
    with pytest.raises(OperationError, match=r"-device-1, .*-device-2: did not remove their components"):
        run(account, device_seconds=0.3)
    run(account, force=True)
    greengrass = account.aws.client("greengrassv2")
    for group in target.group_arns:
        assert greengrass.list_deployments(targetArn=group, historyFilter="ALL")["deployments"] == []
    things = {device["coreDeviceThingName"] for device in greengrass.list_core_devices()["coreDevices"]}
    assert not things & set(target.environment.thing_names)
    assert account.versions() == []


def test_the_rollout_stack_of_former_canaries_is_deleted_too(account: Any) -> None:
    cloudformation, name = account.aws.client("cloudformation"), f"{account.namespace}-Rollout"
    cloudformation.create_stack(StackName=name, TemplateBody='{"Resources": {"Gone": {"Type": "AWS::SNS::Topic"}}}')
    cloudformation.get_waiter("stack_create_complete").wait(
        StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20}
    )
    assert run(account) == []
    assert account.target.stack_status(name) in {None, "DELETE_COMPLETE"}
    assert f"deleting {name}, which stands from when there were canaries" in account.said


def test_a_thing_that_never_was_a_core_device_is_not_waited_for(account: Any) -> None:
    assert run(account, device_seconds=0.0) == []
    assert newest(account) is None
    assert account.said[-1] == "destroyed; nothing was kept"


def test_certificates_are_released_and_deleted_unless_another_thing_has_them(account: Any, tmp_path: Path) -> None:
    iot, thing = account.aws.client("iot"), f"{account.namespace}-device-1"
    make_device(account.target, name="device-1", out=tmp_path / "own")
    make_device(account.target, name="device-1", out=tmp_path / "shared")
    arns = set(iot.list_thing_principals(thingName=thing)["principals"])
    shared = next(iter(arns))
    iot.create_thing(thingName=f"{account.namespace}-other")
    iot.attach_thing_principal(thingName=f"{account.namespace}-other", principal=shared)
    run(account)
    iot.delete_thing(thingName=thing)  # would be refused with a certificate on it
    iot.delete_policy(policyName=account.target.environment.device_policy)
    left = {item["certificateArn"] for item in iot.list_certificates(pageSize=250)["certificates"]}
    assert left & arns == {shared}
    assert (tmp_path / "own" / "private.pem.key").exists(), "files of people are theirs"


def test_a_thing_that_left_the_file_and_still_stands_in_a_stack_loses_its_certificate(account: Any) -> None:
    iot, thing = account.aws.client("iot"), f"{account.namespace}-former"
    body = {"Resources": {"Former": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": thing}}}}
    cloudformation, name = account.aws.client("cloudformation"), f"{account.namespace}-Fleet"
    cloudformation.create_stack(StackName=name, TemplateBody=json.dumps(body))
    waiting = {"Delay": 1, "MaxAttempts": 20}
    cloudformation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig=waiting)
    certificate = iot.create_keys_and_certificate(setAsActive=True)
    iot.attach_thing_principal(thingName=thing, principal=certificate["certificateArn"])
    run(account)
    assert iot.list_thing_principals(thingName=thing)["principals"] == []
    left = {item["certificateArn"] for item in iot.list_certificates(pageSize=250)["certificates"]}
    assert certificate["certificateArn"] not in left


def test_a_wrong_answer_changes_nothing(running: Any) -> None:
    asked: list[str] = []

    def confirm(question: str) -> bool:
        asked.append(question)
        return False

    with pytest.raises(RefusedError, match=f"not destroyed: {running.namespace} was not typed"):
        destroy(running.target, cdk=never, confirm=confirm, approved=False, force=False)
    assert asked == [f"Type {running.namespace} to destroy it: "]
    assert newest(running)["deploymentStatus"] == "COMPLETED"


def test_prod_is_destroyed_with_approval_only(make_account: Any) -> None:
    with pytest.raises(RefusedError, match="prod: is destroyed with APPROVE=yes only"):
        destroy(make_account("prod").target, cdk=never, confirm=lambda _question: True, approved=False, force=False)


def test_an_environment_that_is_gone_is_destroyed_again_without_harm(make_account: Any) -> None:
    account = make_account()
    assert run(account) == []
    assert account.said[-1] == "destroyed; nothing was kept"


def test_what_outlives_its_stack_is_listed_with_the_way_to_be_rid_of_it(account: Any) -> None:
    bucket = account.target.environment.capture_bucket
    account.aws.client("s3").delete_bucket(Bucket=bucket)
    body = (
        '{"Resources": {"Kept": {"Type": "AWS::S3::Bucket", "DeletionPolicy": "Retain", "Properties": {"BucketName": '
        f'"{bucket}"}}}}, "Gone": {{"Type": "AWS::SNS::Topic"}}}}}}'
    )
    name = f"{account.namespace}-Fleet"
    account.aws.client("cloudformation").create_stack(StackName=name, TemplateBody=body)
    account.aws.client("cloudformation").get_waiter("stack_create_complete").wait(
        StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20}
    )
    assert run(account) == [["destroy", "dev/*", "--force"]]
    assert account.said[-3] == f"  AWS::S3::Bucket  {bucket}"
    command = account.said[-1].partition("-c '")[2].removesuffix("'")
    compile(command, "what a person is told to run", "exec")
    assert f'Bucket("{bucket}")' in command


def test_a_kept_signing_key_is_told_with_the_command_that_takes_its_alias_away(account: Any) -> None:
    (alias,) = account.target.environment.signing_aliases
    kept = {"DeletionPolicy": "RetainExceptOnCreate", "UpdateReplacePolicy": "Retain"}
    key = {"Type": "AWS::KMS::Key", "Properties": {"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}, **kept}
    named = {"Type": "AWS::KMS::Alias", "Properties": {"AliasName": alias, "TargetKeyId": {"Ref": "Key"}}, **kept}
    key["Properties"] |= {"KeyPolicy": {"Version": "2012-10-17", "Statement": []}}  # type: ignore[operator]
    name = f"{account.namespace}-Fleet"
    cloudformation = account.aws.client("cloudformation")
    cloudformation.create_stack(StackName=name, TemplateBody=json.dumps({"Resources": {"Key": key, "Alias": named}}))
    cloudformation.get_waiter("stack_create_complete").wait(
        StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20}
    )
    run(account)
    told = account.said[account.said.index("destroyed; kept, because they hold data or sign packages:") :]
    assert f"  AWS::KMS::Alias  {alias}" in told
    assert any(line.startswith("  AWS::KMS::Key  ") for line in told)
    assert told[-1] == f"  aws kms delete-alias --alias-name {alias} --region us-east-1"
    assert not any("buckets" in line for line in told)
