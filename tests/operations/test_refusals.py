# SPDX-License-Identifier: Apache-2.0
"""What `make deploy`, `destroy` and `device` refuse before they change anything, as docs/refusals.md has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from operations.deploy import deploy
from operations.destroy import destroy
from operations.device import make_device
from operations.errors import RefusedError
from operations.target import load_target

Refusal = Callable[..., None]


def never(arguments: Sequence[str]) -> None:
    raise AssertionError(f"the CDK must not run: {arguments}")


def said(action: Callable[[], Any]) -> str:
    with pytest.raises(RefusedError) as refused:
        action()
    return str(refused.value)


@pytest.mark.refusal("Operation", "no account is named")
def test_no_account(refusal: Refusal) -> None:
    message = said(lambda: load_target("dev", say=lambda _line: None, variables={}))
    refusal(message, ("EDGE_DEV_ACCOUNT", "set it to your account", "is not set", "set it to your account"))


@pytest.mark.refusal("Operation", "an environment that does not exist")
def test_an_unknown_environment(refusal: Refusal) -> None:
    message = said(lambda: load_target("test", say=lambda _line: None, variables={}))
    refusal(message, ("environment 'test'", "is expected", "'test'", "one of dev, prod, staging"))


@pytest.mark.refusal("Operation", "credentials of another account")
def test_credentials_of_another_account(refusal: Refusal, make_account: Any) -> None:
    target = make_account(account="123456789012").target
    message = said(lambda: deploy(target, cdk=never, approved=True))
    refusal(
        message, ("EDGE_DEV_ACCOUNT", "123456789012", "belong to account 444455556666", "choose another AWS_PROFILE")
    )


@pytest.mark.refusal("Operation", "prod without approval")
def test_prod_without_approval(refusal: Refusal, make_account: Any) -> None:
    message = said(lambda: deploy(make_account("prod").target, cdk=never, approved=False))
    refusal(message, ("prod", "is deployed with", "only", "APPROVE=yes"))


@pytest.mark.refusal("Operation", "prod is to be destroyed without approval")
def test_destroying_prod_without_approval(refusal: Refusal, make_account: Any) -> None:
    target = make_account("prod").target
    message = said(lambda: destroy(target, cdk=never, confirm=lambda _q: True, approved=False, force=False))
    refusal(message, ("prod", "is destroyed with", "only", "APPROVE=yes"))


@pytest.mark.refusal("Operation", "the CDK is not bootstrapped")
def test_an_account_that_is_not_bootstrapped(refusal: Refusal, account: Any) -> None:
    message = said(lambda: deploy(account.target, cdk=never, approved=True))
    refusal(message, ("444455556666", "bootstrap", "us-east-1", "cdk bootstrap aws://444455556666/us-east-1"))


@pytest.mark.refusal("Operation", "a device that the environment does not name")
def test_an_unknown_device(refusal: Refusal, account: Any, tmp_path: Path) -> None:
    message = said(lambda: make_device(account.target, name="device-9", out=tmp_path / "out"))
    refusal(message, ("device 'device-9'", "one of device-1 is expected", "device-9", "added to devices in"))


@pytest.mark.refusal("Operation", "a device's folder that exists")
def test_a_folder_that_exists(refusal: Refusal, account: Any, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    message = said(lambda: make_device(account.target, name="device-1", out=tmp_path / "out"))
    refusal(message, ("out", "never overwritten", "exists already", "choose another folder with OUT=..."))
