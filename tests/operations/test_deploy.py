# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from operations.cdk import pinned_cdk
from operations.deploy import deploy
from operations.errors import RefusedError
from operations.target import BOOTSTRAP_PARAMETER, ROOT, load_target


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
