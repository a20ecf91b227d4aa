# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from stacks.application import ENVIRONMENTS, build_app
from stacks.environment import EnvironmentFileError, check_together, load_environment
from stacks.order import stack_names

Stacks = Callable[[str], dict[str, dict[str, Any]]]


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_every_name_starts_with_the_namespace(environment: str, stacks_of: Stacks) -> None:
    stacks = stacks_of(environment)
    assert set(stacks) == set(stack_names(load_environment(ENVIRONMENTS / f"{environment}.toml", variables={})))
    named = {
        "AlarmName",
        "BucketName",
        "DashboardName",
        "DeploymentName",
        "PolicyName",
        "RoleAlias",
        "RoleName",
        "TableName",
        "ThingGroupName",
        "ThingName",
    }
    for template in stacks.values():
        for resource in template["Resources"].values():
            if resource["Type"] == "AWS::IAM::Policy":  # lives inside its role
                continue
            for key in named & resource.get("Properties", {}).keys():
                assert environment in resource["Properties"][key]


def test_two_environments_share_no_name(stacks_of: Stacks) -> None:
    def names(environment: str) -> set[str]:
        text = json.dumps(stacks_of(environment))
        return {word for word in text.replace('"', " ").split() if "sagemaker-" in word or "SageMaker-" in word}

    assert names("staging")
    assert not names("staging") & names("prod")


def test_the_same_namespace_in_the_same_account_and_region_is_refused() -> None:
    with pytest.raises(EnvironmentFileError, match=r"dev and prod: both are namespace 'dev' of account 111122223333"):
        build_app(context={"prod.namespace": "dev"})


def test_the_same_namespace_in_another_account_is_taken() -> None:
    variables = {"EDGE_PROD_ACCOUNT": "444455556666"}
    paths = (ENVIRONMENTS / "dev.toml", ENVIRONMENTS / "prod.toml")
    check_together([load_environment(path, overrides={"namespace": "same"}, variables=variables) for path in paths])
