# SPDX-License-Identifier: Apache-2.0
"""The added CloudFormation types in stacks of their own, written as templates."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import botocore.exceptions
import pytest

from local.aws.server import EmbeddedAws

ROLE = "arn:aws:iam::111122223333:role/SageMaker-device"


class Stack:
    """One stack, changed by whole templates."""

    def __init__(self, aws: EmbeddedAws, name: str) -> None:
        self._cloudformation = aws.client("cloudformation")
        self._name = name
        self._exists = False

    def put(self, resources: dict[str, Any], outputs: dict[str, Any]) -> tuple[str, dict[str, str]]:
        """Creates or updates the stack; its status and outputs afterwards."""
        body = json.dumps({"Resources": resources, "Outputs": {key: {"Value": outputs[key]} for key in outputs}})
        operation = "update" if self._exists else "create"
        getattr(self._cloudformation, f"{operation}_stack")(StackName=self._name, TemplateBody=body)
        self._exists = True
        waiter = self._cloudformation.get_waiter(f"stack_{operation}_complete")
        with contextlib.suppress(botocore.exceptions.WaiterError):  # a stack that rolls back is an answer, too
            waiter.wait(StackName=self._name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
        stack = self._cloudformation.describe_stacks(StackName=self._name)["Stacks"][0]
        return stack["StackStatus"], {item["OutputKey"]: item["OutputValue"] for item in stack.get("Outputs", ())}

    def failures(self) -> str:
        """The reasons of every resource that failed."""
        events = self._cloudformation.describe_stack_events(StackName=self._name)["StackEvents"]
        failed = [event for event in events if event["ResourceStatus"].endswith("_FAILED")]
        return "\n".join(event.get("ResourceStatusReason", "") for event in failed)

    def delete(self) -> None:
        self._cloudformation.delete_stack(StackName=self._name)
        waiter = self._cloudformation.get_waiter("stack_delete_complete")
        waiter.wait(StackName=self._name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})


@pytest.fixture
def stack(aws: EmbeddedAws, request: pytest.FixtureRequest) -> Iterator[Stack]:
    stack = Stack(aws, request.node.name.replace("_", "-").partition("[")[0])
    yield stack
    stack.delete()


def component(name: str, version: str = "1.0.0", **more: Any) -> dict[str, Any]:
    recipe = {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": name,
        "ComponentVersion": version,
        "Manifests": [{"Platform": {"os": "linux", "runtime": "*"}, "Lifecycle": {"run": "true"}}],
        **more,
    }
    return {"Type": "AWS::GreengrassV2::ComponentVersion", "Properties": {"InlineRecipe": json.dumps(recipe)}}


def deployment(name: str, **properties: Any) -> dict[str, Any]:
    components = {name: {"ComponentVersion": {"Fn::GetAtt": ["Component", "ComponentVersion"]}}}
    target = {"Fn::GetAtt": ["Group", "Arn"]}
    group = {"Type": "AWS::IoT::ThingGroup", "Properties": {"ThingGroupName": name.replace(".", "-")}}
    return {
        "Group": group,
        "Component": component(name),
        "Deployment": {
            "Type": "AWS::GreengrassV2::Deployment",
            "Properties": {"TargetArn": target, "Components": components, **properties},
        },
    }


def test_a_role_alias_changes_in_place_and_is_replaced_under_a_new_name(aws: EmbeddedAws, stack: Stack) -> None:
    iot = aws.client("iot")

    def put(**properties: Any) -> dict[str, str]:
        alias = {"Type": "AWS::IoT::RoleAlias", "Properties": {"RoleArn": ROLE, **properties}}
        return stack.put(
            {"Alias": alias}, {"Name": {"Ref": "Alias"}, "Arn": {"Fn::GetAtt": ["Alias", "RoleAliasArn"]}}
        )[1]

    first = put(RoleAlias="in-place", CredentialDurationSeconds=900)
    assert first == {"Name": "in-place", "Arn": "arn:aws:iot:us-east-1:111122223333:rolealias/in-place"}
    assert put(RoleAlias="in-place", CredentialDurationSeconds=1800) == first
    assert iot.describe_role_alias(roleAlias="in-place")["roleAliasDescription"]["credentialDurationSeconds"] == 1800
    assert put(RoleAlias="renamed")["Name"] == "renamed"
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.describe_role_alias(roleAlias="in-place")
    assert iot.describe_role_alias(roleAlias="renamed")["roleAliasDescription"]["credentialDurationSeconds"] == 3600


def test_a_changed_recipe_under_the_same_version_fails_and_changes_nothing(aws: EmbeddedAws, stack: Stack) -> None:
    name, outputs = "com.example.Unchanged", {"Arn": {"Ref": "Component"}}
    status, before = stack.put({"Component": component(name)}, outputs)
    assert (status, before["Arn"].rpartition(":components:")[2]) == ("CREATE_COMPLETE", f"{name}:versions:1.0.0")
    status, after = stack.put({"Component": component(name, ComponentDescription="changed")}, outputs)
    assert (status, after) == ("UPDATE_ROLLBACK_COMPLETE", before)
    assert f"component {name} already has a version 1.0.0" in stack.failures()
    recipe = json.loads(aws.client("greengrassv2").get_component(arn=before["Arn"])["recipe"])
    assert "ComponentDescription" not in recipe


def test_a_deployments_properties_reach_the_api(aws: EmbeddedAws, stack: Stack) -> None:
    name = "com.example.Policies"
    resources = deployment(
        name,
        DeploymentName="policies",
        DeploymentPolicies={
            "FailureHandlingPolicy": "DO_NOTHING",
            "ComponentUpdatePolicy": {"Action": "SKIP_NOTIFY_COMPONENTS", "TimeoutInSeconds": "30"},
        },
        IotJobConfiguration={"TimeoutConfig": {"InProgressTimeoutInMinutes": 5}},
        Tags={"Team": "edge"},
    )
    _, outputs = stack.put(
        resources, {"Id": {"Ref": "Deployment"}, "Same": {"Fn::GetAtt": ["Deployment", "DeploymentId"]}}
    )
    assert outputs["Id"] == outputs["Same"]
    found = aws.client("greengrassv2").get_deployment(deploymentId=outputs["Id"])
    assert found["deploymentName"] == "policies"
    assert found["components"] == {name: {"componentVersion": "1.0.0"}}
    assert found["deploymentPolicies"]["componentUpdatePolicy"]["timeoutInSeconds"] == 30
    assert found["iotJobConfiguration"] == {"timeoutConfig": {"inProgressTimeoutInMinutes": 5}}
    assert found["tags"] == {"Team": "edge"}


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        ({"DeploymentPolicy": {}}, 'Unknown parameter in input: "deploymentPolicy"'),
        (
            {"Components": {"com.example.None": {"ComponentVersion": "1.0.0"}}},
            "'com.example.None:1.0.0' does not exist",
        ),
        ({"TargetArn": "arn:aws:iot:us-east-1:111122223333:thinggroup/none"}, "thinggroup/none' does not exist"),
    ],
)
def test_a_deployment_that_cannot_be_fails_with_its_reason(
    stack: Stack, properties: dict[str, Any], reason: str
) -> None:
    status, _ = stack.put(deployment("com.example.Refused", **properties), {})
    assert status == "ROLLBACK_COMPLETE"
    assert reason in stack.failures()


def test_a_component_from_a_lambda_function_is_refused(stack: Stack) -> None:
    properties = {"LambdaFunction": {"LambdaArn": "arn:aws:lambda:us-east-1:111122223333:function:f:1"}}
    status, _ = stack.put({"Component": {"Type": "AWS::GreengrassV2::ComponentVersion", "Properties": properties}}, {})
    assert status == "ROLLBACK_COMPLETE"
    assert "property InlineRecipe is required; there are LambdaFunction" in stack.failures()
