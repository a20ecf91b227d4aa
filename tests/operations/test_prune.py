# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import Any

import pytest

from operations.errors import OperationError, RefusedError
from operations.prune import plan_pruning, prune


def populate(account: Any) -> None:
    account.make_version("com.example.Agent", "1.0.0", also=["app.zip.sig"])
    account.make_version("com.example.Agent", "1.1.0", also=["app.zip.sig"])
    account.make_version("com.example.App", "1.0.0")
    account.make_version("com.example.App", "2.0.0")
    account.make_deployment({"com.example.Agent": "1.0.0", "com.example.App": "1.0.0"})
    account.make_deployment({"com.example.Agent": "1.1.0", "com.example.App": "1.0.0"})


def test_without_yes_nothing_is_deleted(account: Any) -> None:
    populate(account)
    before = account.versions(), account.keys()
    prune(account.target, act=False)
    assert (account.versions(), account.keys()) == before
    assert f"  delete {account.namespace}.com.example.App 2.0.0" in account.said
    assert account.said[-1] == "nothing was deleted; YES=1 does it"


def test_what_no_deployment_names_goes_and_the_rest_stays_with_what_lies_beside_it(account: Any) -> None:
    populate(account)
    prune(account.target, act=True)
    # Agent 1.0.0 is named by a superseded deployment only, which still exists.
    assert account.versions() == ["com.example.Agent 1.0.0", "com.example.Agent 1.1.0", "com.example.App 1.0.0"]
    assert account.keys() == [
        "com.example.Agent/1.0.0/app.zip",
        "com.example.Agent/1.0.0/app.zip.sig",
        "com.example.Agent/1.1.0/app.zip",
        "com.example.Agent/1.1.0/app.zip.sig",
        "com.example.App/1.0.0/app.zip",
    ]
    account.said.clear()
    prune(account.target, act=True)
    assert account.said[-1] == "nothing to do"


def test_what_the_fleet_still_runs_stays_while_the_canaries_are_ahead(make_account: Any) -> None:
    account = make_account(devices='["device-1", "device-2"]', canaries='["device-1"]')
    account.make_fleet()
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        account.make_version("com.example.App", version)
    account.make_deployment({"com.example.App": "1.0.0"}, target=account.target.group_arn)
    account.make_deployment({"com.example.App": "1.2.0"}, target=account.target.first_group_arn)
    prune(account.target, act=True)
    assert account.versions() == ["com.example.App 1.0.0", "com.example.App 1.2.0"]


def test_packages_that_no_remaining_version_names_go(account: Any) -> None:
    for key in ("models/digits/old/digits-1.0.tar.gz", "elsewhere/notes.txt"):
        account.aws.client("s3").put_object(Bucket=account.bucket, Key=key, Body=b"")
    prune(account.target, act=True)
    assert account.keys() == ["elsewhere/notes.txt"]


def test_a_package_that_the_models_stack_made_stays_before_a_release_names_it(account: Any) -> None:
    keys = [f"models/digits/{digest}/digits-1.0.tar.gz" for digest in ("made", "old")]
    for key in keys:
        account.aws.client("s3").put_object(Bucket=account.bucket, Key=key, Body=b"")
    template = {
        "Resources": {"Wait": {"Type": "AWS::CloudFormation::WaitConditionHandle"}},
        "Outputs": {"ModelArtifact": {"Value": f"s3://{account.bucket}/{keys[0]}"}},
    }
    name, cloudformation = f"{account.namespace}-Models", account.aws.client("cloudformation")
    cloudformation.create_stack(StackName=name, TemplateBody=json.dumps(template))
    cloudformation.get_waiter("stack_create_complete").wait(
        StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20}
    )
    prune(account.target, act=True)
    assert account.keys() == [keys[0]]


def test_a_deployment_to_another_target_holds_a_version_too(account: Any) -> None:
    account.make_version("com.example.App", "1.0.0")
    thing = account.aws.client("iot").create_thing(thingName=f"{account.namespace}-single")["thingArn"]
    account.make_deployment({"com.example.App": "1.0.0"}, target=thing)
    prune(account.target, act=True)
    assert account.versions() == ["com.example.App 1.0.0"]


def test_dependencies_that_a_deployment_leaves_open_stay_in_every_version(account: Any) -> None:
    account.make_version("com.example.Base", "1.0.0")
    account.make_version("com.example.Base", "1.1.0")
    account.make_version("com.example.Middle", "1.0.0", needs=["com.example.Base"])
    account.make_version("com.example.App", "1.0.0", needs=["com.example.Middle"])
    account.make_version("com.example.App", "1.1.0", needs=["com.example.Middle"])
    account.make_deployment({"com.example.App": "1.0.0"})
    plan = plan_pruning(account.target)
    assert [str(version).partition(".")[2] for version in plan.versions] == ["com.example.App 1.1.0"]


def test_other_namespaces_and_foreign_artifacts_are_left_alone(account: Any, make_account: Any) -> None:
    other = make_account()
    other.make_fleet()
    other.make_version("com.example.App", "1.0.0")
    account.aws.client("s3").create_bucket(Bucket=f"{account.namespace}-foreign")
    account.make_version("com.theirs.App", "1.0.0", bucket=f"{account.namespace}-foreign")
    prune(account.target, act=True)
    assert other.versions() == ["com.example.App 1.0.0"]
    assert account.versions() == ["com.theirs.App 1.0.0"]
    assert any("com.theirs.App 1.0.0: its artifacts do not lie in" in line for line in account.said)


def test_an_environment_that_was_never_deployed_has_nothing_to_prune(make_account: Any) -> None:
    account = make_account()
    prune(account.target, act=True)
    assert account.said[-1] == "nothing to do"


def test_another_account_is_refused(make_account: Any) -> None:
    account = make_account(account="123456789012")
    with pytest.raises(RefusedError, match=r"EDGE_DEV_ACCOUNT is 123456789012, but .* account 444455556666"):
        prune(account.target, act=True)


def test_an_object_that_cannot_be_deleted_is_named(account: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    account.aws.client("s3").put_object(Bucket=account.bucket, Key="models/a/b", Body=b"")
    real = account.aws.client

    def client(service: str) -> Any:
        made = real(service)
        if service == "s3":
            refusal = {"Errors": [{"Key": "models/a/b", "Code": "AccessDenied", "Message": "Access Denied"}]}
            made.delete_objects = lambda **_: refusal
        return made

    monkeypatch.setattr(account.aws, "client", client)
    object.__setattr__(account.target, "client", client)
    with pytest.raises(OperationError, match=r"1 objects could not be deleted: models/a/b: AccessDenied"):
        prune(account.target, act=True)
