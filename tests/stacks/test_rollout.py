# SPDX-License-Identifier: Apache-2.0
"""Canaries before the fleet: groups, stacks, pace, policies, and what a deployment does to configuration."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import botocore.session
import pytest
from pydantic import TypeAdapter

from edge_constructs.rollout_settings import RolloutSettings
from local.aws.extension.resource_types import deployment_type
from stacks.application import ENVIRONMENTS, build_app
from stacks.environment import EnvironmentFileError, load_environment

Template = dict[str, Any]
Stacks = Callable[[str], dict[str, Template]]
ENVIRONMENTS_WITH_CANARIES = ("prod", "staging")


def of_type(template: Template, type_: str) -> list[dict[str, Any]]:
    return [resource for resource in template["Resources"].values() if resource["Type"] == type_]


def deployment_of(template: Template) -> dict[str, Any]:
    (deployment,) = of_type(template, "AWS::GreengrassV2::Deployment")
    return dict(deployment["Properties"])


def synthesised(tmp_path: Path, **overrides: str) -> dict[str, Template]:
    """prod's templates with overrides, by the stack's name without namespace."""
    context = {"env": "prod", **{f"prod.{key}": value for key, value in overrides.items()}}
    outdir = tmp_path / "cdk.out"
    build_app(context=context, outdir=str(outdir)).synth()
    paths = (outdir / "assembly-prod").glob("*.template.json")
    return {
        path.name.removeprefix("prod")[:7].rstrip("0123456789ABCDEF"): json.loads(path.read_text()) for path in paths
    }


@pytest.mark.parametrize("environment", ENVIRONMENTS_WITH_CANARIES)
def test_a_canary_is_in_its_group_alone_and_every_device_in_one(environment: str, stacks_of: Stacks) -> None:
    fleet = stacks_of(environment)[f"{environment}-Fleet"]
    members = [member["Properties"] for member in of_type(fleet, "Custom::ThingGroupMembership")]
    group_of = {member["ThingName"]: member["ThingGroupName"] for member in members}
    things = {thing["Properties"]["ThingName"] for thing in of_type(fleet, "AWS::IoT::Thing")}
    assert len(group_of) == len(members) == len(things)
    assert group_of.keys() == things
    canary = f"{environment}-device-1"
    assert {thing: group for thing, group in group_of.items() if group == f"{environment}-canary"} == {
        canary: f"{environment}-canary"
    }
    assert set(group_of.values()) == {f"{environment}-canary", f"{environment}-fleet"}
    groups = {
        id_: resource["Properties"]["ThingGroupName"]
        for id_, resource in fleet["Resources"].items()
        if resource["Type"] == "AWS::IoT::ThingGroup"
    }
    for member in of_type(fleet, "Custom::ThingGroupMembership"):
        (needed,) = (id_ for id_, name in groups.items() if name == member["Properties"]["ThingGroupName"])
        assert needed in member["DependsOn"]


def test_a_thing_can_be_moved_between_the_groups_even_when_one_of_them_goes(stacks_of: Stacks, allows: Any) -> None:
    fleet = stacks_of("dev")["dev-Fleet"]  # without canaries: the last one was just taken out
    (role,) = (
        id_ for id_, r in fleet["Resources"].items() if "MembershipRole" in id_ and r["Type"] == "AWS::IAM::Role"
    )
    place = "arn:aws:iot:us-east-1:111122223333"
    for action in ("iot:AddThingToThingGroup", "iot:RemoveThingFromThingGroup"):
        for group in ("dev-fleet", "dev-canary"):
            assert allows(fleet, role, action, f"{place}:thinggroup/{group}")
        assert not allows(fleet, role, action, f"{place}:thinggroup/prod-canary")


@pytest.mark.parametrize("environment", ENVIRONMENTS_WITH_CANARIES)
def test_both_deployments_are_the_same_but_for_target_name_and_pace(environment: str, stacks_of: Stacks) -> None:
    stacks = stacks_of(environment)
    release, rollout = (deployment_of(stacks[f"{environment}-{name}"]) for name in ("Release", "Rollout"))
    arn = "arn:aws:iot:us-east-1:111122223333:thinggroup"
    assert (release.pop("TargetArn"), rollout.pop("TargetArn")) == (
        f"{arn}/{environment}-canary",
        f"{arn}/{environment}-fleet",
    )
    assert (release.pop("DeploymentName"), rollout.pop("DeploymentName")) == (
        f"{environment}-release",
        f"{environment}-rollout",
    )
    paces = [deployment["IotJobConfiguration"].pop("JobExecutionsRolloutConfig") for deployment in (release, rollout)]
    assert paces[0] == {"MaximumPerMinute": 1000}, "the canaries get it at once"
    assert (
        paces[1]["MaximumPerMinute"]
        == load_environment(ENVIRONMENTS / f"{environment}.toml").rollout.maximum_per_minute
    )
    # Each stack reads the signing keys itself, under the same ids: so even these references are equal.
    assert release == rollout


@pytest.mark.parametrize("environment", ENVIRONMENTS_WITH_CANARIES)
def test_rollout_comes_after_release_and_takes_nothing_of_it(
    environment: str, stacks_of: Stacks, assembly: Path
) -> None:
    rollout = stacks_of(environment)[f"{environment}-Rollout"]
    assert "ImportValue" not in json.dumps(rollout)
    assert not any(
        "Export" in output
        for template in stacks_of(environment).values()
        for output in template.get("Outputs", {}).values()
    )
    assert of_type(rollout, "AWS::GreengrassV2::ComponentVersion") == []
    (deployment,) = of_type(rollout, "AWS::GreengrassV2::Deployment")
    assert all(id_ in rollout["Resources"] for id_ in deployment.get("DependsOn", []))
    keys = {
        kind: of_type(stacks_of(environment)[f"{environment}-{kind}"], "Custom::SigningPublicKeys")[0]["Properties"][
            "SigningKeys"
        ]
        for kind in ("Release", "Rollout")
    }
    assert keys["Release"] == keys["Rollout"]
    manifest = json.loads((assembly / f"assembly-{environment}" / "manifest.json").read_text())
    by_name = {
        a["properties"]["stackName"]: (id_, a)
        for id_, a in manifest["artifacts"].items()
        if a["type"] == "aws:cloudformation:stack"
    }
    assert by_name[f"{environment}-Release"][0] in by_name[f"{environment}-Rollout"][1]["dependencies"]


def test_canaries_report_under_the_fleets_name(stacks_of: Stacks) -> None:
    components = deployment_of(stacks_of("prod")["prod-Release"])["Components"]
    merge = json.dumps(components["prod.com.edgemanager.Agent"]["ConfigurationUpdate"]["Merge"])
    assert '\\"DeviceFleetName\\":\\"prod-fleet\\"' in merge


@pytest.mark.parametrize(("environment", "stack"), [("dev", "Release"), ("prod", "Release"), ("prod", "Rollout")])
def test_what_is_ours_is_reset_before_the_merge_and_what_is_awss_is_left_alone(
    environment: str, stack: str, stacks_of: Stacks
) -> None:
    components = deployment_of(stacks_of(environment)[f"{environment}-{stack}"])["Components"]
    resets = {name: component.get("ConfigurationUpdate", {}).get("Reset") for name, component in components.items()}
    assert {name for name, pointers in resets.items() if pointers == [""]} == {
        name for name in components if name.startswith(f"{environment}.")
    }
    assert {resets["aws.greengrass.Nucleus"], resets["aws.greengrass.TokenExchangeService"]} == {None}


def test_the_environment_sets_pace_aborts_timeouts_and_policies(tmp_path: Path) -> None:
    abort = [
        {"failure_type": "FAILED", "percentage": 12.5, "minimum": 2},
        {"failure_type": "TIMED_OUT", "percentage": 50, "minimum": 4},
    ]
    stacks = synthesised(
        tmp_path,
        **{
            "rollout.maximum_per_minute": "50",
            "rollout.exponential": json.dumps({"base_per_minute": 2, "increment_factor": 1.5, "notified": 10}),
            "rollout.abort": json.dumps(abort),
            "rollout.in_progress_minutes": "90",
            "rollout.failure_handling": "DO_NOTHING",
            "rollout.update_action": "SKIP_NOTIFY_COMPONENTS",
            "rollout.update_timeout_seconds": "45",
            "inference.defer_update_seconds": "600",
        },
    )
    expected = {
        "JobExecutionsRolloutConfig": {
            "ExponentialRate": {
                "BaseRatePerMinute": 2,
                "IncrementFactor": 1.5,
                "RateIncreaseCriteria": {"NumberOfNotifiedThings": 10},
            },
            "MaximumPerMinute": 50,
        },
        "AbortConfig": {
            "CriteriaList": [
                {
                    "Action": "CANCEL",
                    "FailureType": "FAILED",
                    "ThresholdPercentage": 12.5,
                    "MinNumberOfExecutedThings": 2,
                },
                {
                    "Action": "CANCEL",
                    "FailureType": "TIMED_OUT",
                    "ThresholdPercentage": 50,
                    "MinNumberOfExecutedThings": 4,
                },
            ]
        },
        "TimeoutConfig": {"InProgressTimeoutInMinutes": 90},
    }
    fleet, canary = deployment_of(stacks["Rollout"]), deployment_of(stacks["Release"])
    assert fleet["IotJobConfiguration"] == expected
    assert canary["IotJobConfiguration"] == {**expected, "JobExecutionsRolloutConfig": {"MaximumPerMinute": 1000}}
    policies = fleet["DeploymentPolicies"]
    assert policies["FailureHandlingPolicy"] == "DO_NOTHING"
    assert policies["ComponentUpdatePolicy"] == {"Action": "SKIP_NOTIFY_COMPONENTS", "TimeoutInSeconds": 45}
    assert canary["DeploymentPolicies"] == policies
    assert as_the_api_takes_it(fleet)["iotJobConfiguration"]["abortConfig"]["criteriaList"]
    merge = json.loads(fleet["Components"]["prod.com.edgemanager.ImageClassification"]["ConfigurationUpdate"]["Merge"])
    assert merge["UpdateDeferSeconds"] == "600"


def test_without_criteria_nothing_aborts(tmp_path: Path) -> None:
    configuration = deployment_of(synthesised(tmp_path, **{"rollout.abort": "[]"})["Rollout"])["IotJobConfiguration"]
    assert "AbortConfig" not in configuration


def as_the_api_takes_it(properties: dict[str, Any]) -> dict[str, Any]:
    """The request of CreateDeployment that CloudFormation makes of it, held against botocore's model of the service."""
    requests: list[dict[str, Any]] = []

    def create(request: dict[str, Any]) -> SimpleNamespace:
        requests.append(request)
        return SimpleNamespace(id="id")

    model = botocore.session.get_session().get_service_model("greengrassv2")
    service: Any = SimpleNamespace(deployments=SimpleNamespace(create=create))
    known = deployment_type(lambda: service, model.operation_model("CreateDeployment").input_shape)
    plain = json.loads(json.dumps(properties, default=str))
    for component in plain["Components"].values():  # what is known at deploy time alone is a text there
        update = component.get("ConfigurationUpdate", {})
        if not isinstance(update.get("Merge", ""), str):
            update["Merge"] = "{}"
    known.create("Deployment", plain, "stack")
    return requests[0]


@pytest.mark.parametrize("environment", ["dev", *ENVIRONMENTS_WITH_CANARIES])
def test_the_service_takes_every_deployment(environment: str, stacks_of: Stacks) -> None:
    for name, template in stacks_of(environment).items():
        for deployment in of_type(template, "AWS::GreengrassV2::Deployment"):
            assert as_the_api_takes_it(deployment["Properties"])["targetArn"], name


def test_the_bounds_of_the_settings_are_within_the_services() -> None:
    model = botocore.session.get_session().get_service_model("greengrassv2")
    schema = TypeAdapter(RolloutSettings).json_schema()
    rate, criterion = (schema["$defs"][name]["properties"] for name in ("ExponentialRate", "AbortCriterion"))
    for bounds, shape in (
        (schema["properties"]["maximum_per_minute"], "IoTJobMaxExecutionsPerMin"),
        (rate["base_per_minute"], "IoTJobRolloutBaseRatePerMinute"),
        (rate["increment_factor"], "IoTJobRolloutIncrementFactor"),
        (criterion["percentage"], "IoTJobAbortThresholdPercentage"),
        (criterion["minimum"], "IoTJobMinimumNumberOfExecutedThings"),
    ):
        limits = model.shape_for(shape).metadata
        lowest = bounds.get("minimum", bounds.get("exclusiveMinimum"))
        assert lowest >= limits.get("min", 0), shape
        assert bounds.get("maximum", 0) <= limits.get("max", float("inf")), shape
    for words, shape in (
        (criterion["failure_type"], "IoTJobExecutionFailureType"),
        (schema["properties"]["update_action"], "DeploymentComponentUpdatePolicyAction"),
        (schema["properties"]["failure_handling"], "DeploymentFailureHandlingPolicy"),
    ):
        assert words["enum"] == model.shape_for(shape).metadata["enum"]


RATE = {"base_per_minute": 1, "increment_factor": 2, "succeeded": 1}


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            {"rollout.maximum_per_minute": "2000"},
            "rollout.maximum_per_minute: should be less than or equal to 1000; got",
        ),
        (
            {"rollout.in_progress_minutes": "10081"},
            "rollout.in_progress_minutes: should be less than or equal to 10080",
        ),
        ({"rollout.failure_handling": "RETRY"}, "rollout.failure_handling: should be 'ROLLBACK' or 'DO_NOTHING'; got"),
        ({"rollout.update_action": "NOTIFY"}, "rollout.update_action: should be 'NOTIFY_COMPONENTS' or 'SKIP_NOTIFY"),
        (
            {"rollout.update_timeout_seconds": "0"},
            "rollout.update_timeout_seconds: should be greater than or equal to 1",
        ),
        (
            {"rollout.update_timeout_seconds": "1800"},
            "update_timeout_seconds 1800 must be below in_progress_minutes 30: a device that waits",
        ),
        (
            {"inference.defer_update_seconds": "1800"},
            "inference.defer_update_seconds: less than rollout.in_progress_minutes 30 is expected, got 1800 seconds",
        ),
        (
            {"rollout.abort": json.dumps([{"failure_type": "BORED"}])},
            "rollout.abort.0.failure_type: should be 'FAILED', 'REJECTED', 'TIMED_OUT' or 'ALL'; got 'BORED'",
        ),
        (
            {"rollout.abort": json.dumps([{"percentage": 101}])},
            "rollout.abort.0.percentage: should be less than or equal to 100; got 101",
        ),
        (
            {"rollout.abort": json.dumps([{"percentage": 10.125}])},
            "rollout.abort.0.percentage: should have at most 2 digits after the point; got 10.125",
        ),
        (
            {"rollout.abort": json.dumps([{"minimum": 0}])},
            "rollout.abort.0.minimum: should be greater than or equal to 1",
        ),
        ({"rollout.abort": json.dumps([{}, {}])}, "one criterion for each failure_type is expected, ALL has several"),
        (
            {"rollout.abort": json.dumps([{"limit": 1}])},
            "rollout.abort.0.limit: no such key; known here are failure_type",
        ),
        (
            {"rollout.exponential": json.dumps({**RATE, "increment_factor": 1.55})},
            "rollout.exponential.increment_factor: should have at most 1 digit after the point; got 1.55",
        ),
        (
            {"rollout.exponential": json.dumps({**RATE, "increment_factor": 6})},
            "rollout.exponential.increment_factor: should be less than or equal to 5; got 6",
        ),
        (
            {"rollout.exponential": json.dumps({**RATE, "notified": 1})},
            "rollout.exponential: either notified or succeeded is expected, not both and not none",
        ),
        (
            {"rollout.maximum_per_minute": "5", "rollout.exponential": json.dumps({**RATE, "base_per_minute": 6})},
            "exponential.base_per_minute 6 is more than maximum_per_minute 5: the pace would never grow",
        ),
    ],
)
def test_a_rollout_that_the_service_would_not_take_is_refused(overrides: dict[str, str], expected: str) -> None:
    with pytest.raises(EnvironmentFileError) as refused:
        load_environment(ENVIRONMENTS / "dev.toml", overrides=overrides, variables={})
    assert expected in str(refused.value)


def test_components_that_are_not_told_put_nothing_off(tmp_path: Path) -> None:
    text = (ENVIRONMENTS / "dev.toml").read_text()
    path = tmp_path / "dev.toml"
    path.write_text(f'{text}defer_update_seconds = 7200\n\n[rollout]\nupdate_action = "SKIP_NOTIFY_COMPONENTS"\n')
    assert load_environment(path, variables={}).inference.defer_update_seconds == 7200
