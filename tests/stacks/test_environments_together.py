# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from stacks.application import ENVIRONMENTS, build_app
from stacks.environment import EnvironmentFileError, check_together, load_environment

Stacks = Callable[[str], dict[str, dict[str, Any]]]


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_every_name_starts_with_the_namespace(environment: str, stacks_of: Stacks) -> None:
    stacks = stacks_of(environment)
    last = () if environment == "dev" else ("Rollout",)
    assert set(stacks) == {f"{environment}-{name}" for name in ("Fleet", "Models", "Release", *last)}
    named = {"ThingName", "ThingGroupName", "RoleAlias", "PolicyName", "RoleName", "BucketName", "DeploymentName"}
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


def test_alarms_are_the_environments_own(stacks_of: Stacks) -> None:
    def alarms(environment: str) -> list[dict[str, Any]]:
        resources = stacks_of(environment)[f"{environment}-Fleet"]["Resources"].values()
        return [r["Properties"] for r in resources if r["Type"] == "AWS::CloudWatch::Alarm"]

    assert alarms("dev") == []
    (alarm,) = alarms("staging")
    assert alarm["Period"] * alarm["EvaluationPeriods"] == 60 * 60
    assert alarm["TreatMissingData"] == "breaching"
    assert alarm["AlarmActions"] == alarm["OKActions"]


def test_the_alarm_counts_what_the_rule_counts(stacks_of: Stacks) -> None:
    template = stacks_of("prod")["prod-Fleet"]["Resources"]
    (rule,) = (r["Properties"]["TopicRulePayload"] for r in template.values() if r["Type"] == "AWS::IoT::TopicRule")
    (alarm,) = (r["Properties"] for r in template.values() if r["Type"] == "AWS::CloudWatch::Alarm")
    metric = rule["Actions"][0]["CloudwatchMetric"]
    assert (alarm["Namespace"], alarm["MetricName"]) == (metric["MetricNamespace"], metric["MetricName"])
    assert "'gg/sageMakerEdgeManager/image-classification'" in rule["Sql"]
    assert "'prod-'" in rule["Sql"]
    role = metric["RoleArn"]["Fn::GetAtt"][0]
    (policy,) = (
        r["Properties"]["PolicyDocument"]["Statement"]
        for r in template.values()
        if r["Type"] == "AWS::IAM::Policy" and {"Ref": role} in r["Properties"]["Roles"]
    )
    assert policy[0]["Condition"] == {"StringEquals": {"cloudwatch:namespace": metric["MetricNamespace"]}}


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"alarms.silent_minutes": "60", "inference.topic": ""}, "needs results to count"),
        ({"alarms.silent_minutes": "5", "inference.interval_seconds": "200"}, "less than two passes"),
        ({"alarms.silent_minutes": "7"}, "multiple of 5"),
    ],
)
def test_an_alarm_that_cannot_work_is_refused(overrides: dict[str, str], expected: str) -> None:
    with pytest.raises(EnvironmentFileError, match=expected):
        load_environment(ENVIRONMENTS / "dev.toml", overrides=overrides, variables={})
