# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from operations.bootstrap import BOOTSTRAP_PARAMETER, bootstrap_lines
from operations.cdk import pinned_cdk
from operations.deploy import deploy, deploy_pipeline
from operations.errors import OperationError, RefusedError
from operations.target import ROOT, load_target
from operations.verify import VerificationError
from stacks.environment import EnvironmentFileError


def never(arguments: Sequence[str]) -> None:
    raise AssertionError(f"the CDK must not run: {arguments}")


@pytest.fixture
def bootstrapped(account: Any) -> Any:
    """The mark that the CDK's bootstrap stack leaves."""
    account.aws.client("ssm").put_parameter(Name=BOOTSTRAP_PARAMETER, Value="33", Type="String", Overwrite=True)
    yield account
    account.aws.client("ssm").delete_parameter(Name=BOOTSTRAP_PARAMETER)


def stack(account: Any, name: str) -> None:
    """A stack of that name which is deployed."""
    body = '{"Resources": {"Wait": {"Type": "AWS::CloudFormation::WaitConditionHandle"}}}'
    account.aws.client("cloudformation").create_stack(StackName=name, TemplateBody=body)
    account.aws.client("cloudformation").get_waiter("stack_create_complete").wait(
        StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20}
    )


def run(account: Any, *, approved: bool = False) -> list[list[str]]:
    calls: list[list[str]] = []
    deploy(account.target, cdk=lambda arguments: calls.append(list(arguments)), approved=approved)
    return calls


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "EDGE_DEV_ACCOUNT is not set: set it to your account, and EDGE_DEV_REGION to your region"),
        ({"EDGE_DEV_ACCOUNT": ""}, "EDGE_DEV_ACCOUNT is not set"),
        ({"EDGE_DEV_ACCOUNT": "111122223333"}, "EDGE_DEV_ACCOUNT is AWS's account number for documentation"),
    ],
)
def test_an_account_must_be_named(variables: dict[str, str], message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        load_target("dev", say=lambda _line: None, variables=variables)


@pytest.mark.parametrize("name", ["dev", "staging", "prod"])
def test_the_stacks_are_those_that_are_synthesised(name: str, make_account: Any) -> None:
    target = make_account(name).target
    synthesised = {path.stem for path in (ROOT / "tests" / "snapshots" / name).glob("*.json")}
    assert {name.partition("-")[2] for name in target.stack_names} == synthesised


def test_an_unknown_environment_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"environment '\.\./dev': one of dev, prod, staging is expected"):
        load_target("../dev", say=lambda _line: None, variables={})


def test_prod_is_deployed_with_approval_only(make_account: Any) -> None:
    with pytest.raises(RefusedError, match="prod: is deployed with APPROVE=yes only"):
        deploy(make_account("prod").target, cdk=never, approved=False)


def test_credentials_of_another_account_are_refused(make_account: Any) -> None:
    account = make_account(account="123456789012")
    with pytest.raises(RefusedError, match=r"credentials in use belong to account 444455556666 \(arn:.*AWS_PROFILE"):
        deploy(account.target, cdk=never, approved=True)


def test_an_account_that_is_not_bootstrapped_is_told_the_command(account: Any) -> None:
    with pytest.raises(RefusedError, match=r"cdk bootstrap aws://444455556666/us-east-1$"):
        deploy(account.target, cdk=never, approved=True)


def test_a_first_deploy_takes_back_kept_buckets(bootstrapped: Any) -> None:
    assert run(bootstrapped) == [["deploy", "dev/*", "--import-existing-resources"]]
    assert bootstrapped.said[0].startswith("taking back what a former deployment left: sagemaker-")


def test_a_first_deploy_without_a_past_and_a_later_one_import_nothing(bootstrapped: Any) -> None:
    stack(bootstrapped, f"{bootstrapped.namespace}-Fleet")
    assert run(bootstrapped) == [["deploy", "dev/*"]]
    s3 = bootstrapped.aws.client("s3")
    bootstrapped.aws.client("cloudformation").delete_stack(StackName=f"{bootstrapped.namespace}-Fleet")
    for bucket in (bootstrapped.bucket, bootstrapped.target.environment.capture_bucket):
        s3.delete_bucket(Bucket=bucket)
    assert run(bootstrapped, approved=True) == [["deploy", "dev/*", "--require-approval=never"]]


def client_with(account: Any, service: str, operation: str, answer: Any) -> Any:
    """The account's clients, one operation replaced."""

    def client(name: str) -> Any:
        made = account.aws.client(name)
        if name == service:
            setattr(made, operation, answer)
        return made

    return replace(account.target, client=client)


def test_a_bucket_of_somebody_else_is_named(bootstrapped: Any) -> None:
    def head(**_arguments: Any) -> Any:
        metadata = {"HTTPStatusCode": 403, "RequestId": "", "HostId": "", "HTTPHeaders": {}, "RetryAttempts": 0}
        raise ClientError({"Error": {"Code": "403"}, "ResponseMetadata": metadata}, "HeadBucket")  # type: ignore[typeddict-item]

    with pytest.raises(RefusedError, match=r"bucket sagemaker-.*: access to it is denied: .*another namespace"):
        deploy(client_with(bootstrapped, "s3", "head_bucket", head), cdk=never, approved=False)


def test_a_stack_in_the_middle_of_a_change_is_waited_for(bootstrapped: Any) -> None:
    def describe(**arguments: Any) -> Any:
        return {"Stacks": [{"StackName": arguments["StackName"], "StackStatus": "UPDATE_IN_PROGRESS"}]}

    busy = client_with(bootstrapped, "cloudformation", "describe_stacks", describe)
    with pytest.raises(RefusedError, match=r"-Fleet: is UPDATE_IN_PROGRESS: wait"):
        deploy(busy, cdk=never, approved=False)


def test_a_missing_cli_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr("operations.cdk.ROOT", tmp_path)
    with pytest.raises(RefusedError, match=r"the CDK CLI is not installed: .*make setup"):
        pinned_cdk("dev")(["deploy"])


CANARIES = {"devices": '["device-1", "device-2"]', "canaries": '["device-1"]'}


def run_verifying(account: Any, *, failing: bool = False) -> list[Any]:
    """The order of what is done: calls of the CDK, and verifications by whether they are of the first group."""
    done: list[Any] = []

    def verifying(first: bool) -> None:  # noqa: FBT001 -- as it is called
        done.append(first)
        if failing:
            raise VerificationError("t0-canary: wrong digest")

    try:
        deploy(account.target, cdk=lambda call: done.append(call[1:]), approved=False, verifying=verifying)
    except OperationError as error:
        done.append(str(error))
    return done


@pytest.fixture
def with_canaries(make_account: Any, bootstrapped: Any) -> Any:
    """An environment with canaries whose stacks are deployed, and whose first device has reported."""
    assert bootstrapped
    account = make_account(**CANARIES)
    account.make_fleet()
    stack(account, f"{account.namespace}-Fleet")
    return account


def test_the_fleet_follows_when_the_canaries_are_verified(with_canaries: Any) -> None:
    with_canaries.report_state(with_canaries.target.environment.canary_things[0], [])
    release = ["dev/Fleet", "dev/Monitoring", "dev/Models", "dev/Release"]
    assert run_verifying(with_canaries) == [release, True, ["dev/Rollout", "--exclusively"], False]


def test_the_fleet_does_not_follow_when_they_are_not(with_canaries: Any) -> None:
    with_canaries.report_state(with_canaries.target.environment.canary_things[0], [])
    release, first, message = run_verifying(with_canaries, failing=True)
    assert (release[-1], first) == ("dev/Release", True)
    assert message.startswith(
        "t0-canary: wrong digest\nIt is deployed, and no other group gets it. `make restore ENV=dev`"
    )


def test_without_any_device_nothing_is_verified_yet(with_canaries: Any) -> None:
    done = run_verifying(with_canaries, failing=True)
    assert done[1:] == [["dev/Rollout", "--exclusively"]]
    assert "no core device has reported yet" in with_canaries.said[-1]


def test_canaries_that_never_reported_hold_the_fleet_back(with_canaries: Any) -> None:
    with_canaries.report_state(with_canaries.target.environment.fleet_things[0], [])
    assert run_verifying(with_canaries, failing=True)[1] is True


def test_without_canaries_the_fleet_is_verified(bootstrapped: Any) -> None:
    stack(bootstrapped, f"{bootstrapped.namespace}-Fleet")
    bootstrapped.report_state(bootstrapped.target.environment.thing_names[0], [])
    assert run_verifying(bootstrapped) == [["dev/*"], False]


ACCOUNTS = {
    "EDGE_DELIVERY_ACCOUNT": "444455556666",
    "EDGE_DEV_ACCOUNT": "444455556666",
    "EDGE_STAGING_ACCOUNT": "555566667777",
    "EDGE_PROD_ACCOUNT": "666677778888",
    "EDGE_PROD_REGION": "eu-west-1",
    "EDGE_DELIVERY_CONNECTION": f"arn:aws:codeconnections:us-east-1:444455556666:connection/{'0' * 8}-{'0' * 27}",
}


def run_pipeline(account: Any, **variables: str) -> list[list[str]]:
    calls: list[list[str]] = []
    deploy_pipeline(
        cdk=lambda arguments: calls.append(list(arguments)),
        variables={**ACCOUNTS, **variables},
        say=account.said.append,
        approved=False,
        client=lambda service, _region: account.aws.client(service),
    )
    return calls


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"EDGE_DELIVERY_ACCOUNT": ""}, "EDGE_DELIVERY_ACCOUNT must name an account of yours"),
        ({"EDGE_PROD_ACCOUNT": "111122223333"}, "staging, prod: EDGE_PROD_ACCOUNT must name an account of yours"),
        ({"EDGE_DELIVERY_CONNECTION": ""}, "EDGE_DELIVERY_CONNECTION is not set: set it to the ARN of a connection"),
        ({"EDGE_DELIVERY_ACCOUNT": "123456789012"}, r"is 123456789012, but .* account 444455556666 .*AWS_PROFILE"),
        (
            {},
            r"the pipeline: account 444455556666 is not bootstrapped .*\n.*cdk bootstrap aws://444455556666/us-east-1$",
        ),
    ],
)
def test_a_pipeline_that_cannot_deploy_is_refused(account: Any, variables: dict[str, str], message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        run_pipeline(account, **variables)


def test_the_pipeline_is_deployed(bootstrapped: Any) -> None:
    assert run_pipeline(bootstrapped) == [["deploy", "Delivery"]]


def test_every_place_is_bootstrapped_once_and_trusts_the_pipeline() -> None:
    policies = "--cloudformation-execution-policies arn:aws:iam::aws:policy/AdministratorAccess"
    trust = f"--trust 444455556666 {policies}"
    assert list(bootstrap_lines(ACCOUNTS)) == [
        "# the pipeline, dev: with credentials of 444455556666",
        "node_modules/.bin/cdk bootstrap aws://444455556666/us-east-1",
        "# staging: with credentials of 555566667777",
        f"node_modules/.bin/cdk bootstrap aws://555566667777/us-east-1 {trust}",
        "# artifacts for prod: with credentials of 444455556666",
        "node_modules/.bin/cdk bootstrap aws://444455556666/eu-west-1",
        "# prod: with credentials of 666677778888",
        f"node_modules/.bin/cdk bootstrap aws://666677778888/eu-west-1 {trust}",
    ]


def kept_alias(account: Any) -> tuple[str, str]:
    """The signing key's alias as a former stack left it, and its key's id."""
    kms = account.aws.client("kms")
    key = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    (alias,) = account.target.environment.signing_aliases
    kms.create_alias(AliasName=alias, TargetKeyId=key)
    return alias, key


def holding(account: Any, status: str, *resources: tuple[str, str]) -> Any:
    """The account's target, whose stack Fleet has a status and holds aliases, each with a status of its own."""
    cloudformation = account.aws.client("cloudformation")
    fleet = f"{account.namespace}-Fleet"

    def describe(**arguments: Any) -> Any:
        if arguments["StackName"] != fleet:
            message = f"Stack with id {arguments['StackName']} does not exist"
            raise ClientError({"Error": {"Code": "ValidationError", "Message": message}}, "DescribeStacks")
        return {"Stacks": [{"StackName": fleet, "StackStatus": status}]}

    class Pages:
        def paginate(self, **arguments: Any) -> list[Any]:
            assert arguments == {"StackName": fleet}
            made = [
                {"ResourceType": "AWS::KMS::Alias", "PhysicalResourceId": alias, "ResourceStatus": state}
                for alias, state in resources
            ]
            return [{"StackResourceSummaries": made}]

    cloudformation.describe_stacks = describe
    cloudformation.get_paginator = {"list_stack_resources": Pages()}.__getitem__
    client = account.aws.client
    return replace(account.target, client=lambda name: cloudformation if name == "cloudformation" else client(name))


def refusal(target: Any) -> str:
    with pytest.raises(RefusedError) as refused:
        deploy(target, cdk=never, approved=True)
    return str(refused.value)


def test_an_alias_that_outlived_its_stack_is_refused_with_the_ways_out(bootstrapped: Any) -> None:
    alias, key = kept_alias(bootstrapped)
    message = refusal(bootstrapped.target)
    assert message.startswith(f"{alias}: is there, but does not belong to {bootstrapped.namespace}-Fleet")
    command = f"aws kms delete-alias --alias-name {alias} --region us-east-1"
    assert f"\n  {command}  # of key {key}\n" in message
    assert "cdk import dev/Fleet --context=env=dev\nwith the key's id" in message
    bootstrapped.aws.client("kms").delete_alias(AliasName=alias)
    assert run(bootstrapped) == [["deploy", "dev/*", "--import-existing-resources"]]


@pytest.mark.parametrize(
    ("status", "resource"),
    [("ROLLBACK_COMPLETE", "CREATE_COMPLETE"), ("UPDATE_COMPLETE", "DELETE_SKIPPED")],
)
def test_an_alias_that_the_stack_left_behind_is_refused(bootstrapped: Any, status: str, resource: str) -> None:
    alias, _key = kept_alias(bootstrapped)
    assert refusal(holding(bootstrapped, status, (alias, resource))).startswith(f"{alias}: is there")


def test_an_alias_of_another_key_of_the_stack_does_not_excuse_one(bootstrapped: Any) -> None:
    alias, _key = kept_alias(bootstrapped)
    other = holding(bootstrapped, "UPDATE_COMPLETE", (f"{alias}-other", "CREATE_COMPLETE"))
    assert refusal(other).startswith(f"{alias}: is there")


@pytest.mark.parametrize("status", ["CREATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE"])
def test_an_alias_of_the_stack_is_no_obstacle(bootstrapped: Any, status: str) -> None:
    alias, _key = kept_alias(bootstrapped)
    calls: list[list[str]] = []
    target = holding(bootstrapped, status, (alias, "IMPORT_COMPLETE"))
    deploy(target, cdk=lambda arguments: calls.append(list(arguments)), approved=False)
    assert calls == [["deploy", "dev/*"]]


def test_accounts_are_bootstrapped_with_the_policy_of_their_partition() -> None:
    regions = {f"EDGE_{name}_REGION": "cn-north-1" for name in ("DELIVERY", "DEV", "STAGING", "PROD")}
    trusting = [line for line in bootstrap_lines({**ACCOUNTS, **regions}) if "--trust" in line]
    assert len(trusting) == 2
    assert all(line.endswith(" arn:aws-cn:iam::aws:policy/AdministratorAccess") for line in trusting)


def test_accounts_of_another_partition_than_the_pipelines_are_not_bootstrapped_for_it() -> None:
    with pytest.raises(EnvironmentFileError, match=r"prod in cn-north-1 \(aws-cn\)"):
        list(bootstrap_lines({**ACCOUNTS, "EDGE_PROD_REGION": "cn-north-1"}))
